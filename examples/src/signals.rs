//! Signals ask for a stop at the next step; another one, some time later, ends the program at once.

use std::{
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, Ordering},
        mpsc::channel,
    },
    thread,
    time::{Duration, Instant},
};

use signal_hook::{consts::TERM_SIGNALS, low_level};

/// A signal that comes so soon after the first one is the same wish once more: `timeout`, batch systems and terminals send
/// one to the program, and again to the group that it belongs to.
const SAME_WISH: Duration = Duration::from_secs(1);

/// The signal for whoever has used up the processor time that a limit gives.
#[cfg(unix)]
const TIME_IS_UP: i32 = signal_hook::consts::SIGXCPU;
#[cfg(not(unix))]
const TIME_IS_UP: i32 = -1;

/// How long the end waits for what is said of it.
const PATIENCE: Duration = Duration::from_millis(200);

/// Sets `stop` at the first SIGINT, SIGTERM, SIGQUIT, SIGXCPU (`ulimit -t`) or, unless that is ignored, as under `nohup`, SIGHUP;
/// ends the process at one that comes a second later, or after that, but for SIGXCPU. Gives the number of the first signal, 0
/// before any. SIGXFSZ (`ulimit -f`) is ignored.
///
/// # Errors
/// When the operating system refuses to register a handler, or a thread.
pub fn stop_on_signals(stop: &Arc<AtomicBool>) -> io::Result<Arc<AtomicU8>> {
    let signals = arrivals()?;
    let (stop, first) = (Arc::clone(stop), Arc::new(AtomicU8::new(0)));
    let seen = Arc::clone(&first);
    let wait = move || {
        let mut began: Option<Instant> = None;
        for signal in signals {
            match began {
                None => {
                    // In this order: who sees the stop asks for the reason.
                    first.store(u8::try_from(signal).unwrap_or(0), Ordering::SeqCst);
                    stop.store(true, Ordering::SeqCst);
                    began = Some(Instant::now());
                    acknowledge();
                }
                // Comes every second once the time is up.
                Some(_) if signal == TIME_IS_UP => {}
                Some(began) if began.elapsed() < SAME_WISH => {}
                Some(_) => end_at_once(signal),
            }
        }
    };
    thread::Builder::new().name("signals".into()).spawn(wait)?;
    Ok(seen)
}

/// The signals as they come, without end.
#[cfg(unix)]
fn arrivals() -> io::Result<impl Iterator<Item = i32> + Send> {
    // Where a file may grow no more, writing it fails, and that is told; the signal would end the program without a word.
    signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Arc::default())?;
    let mut signals = signal_hook::iterator::Signals::new(TERM_SIGNALS)?;
    signals.add_signal(TIME_IS_UP)?;
    if !hang_up_is_ignored() {
        signals.add_signal(signal_hook::consts::SIGHUP)?;
    }
    Ok(std::iter::from_fn(move || signals.forever().next()))
}

/// The signals as they come, without end.
#[cfg(not(unix))]
fn arrivals() -> io::Result<impl Iterator<Item = i32> + Send> {
    let came = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    for &signal in TERM_SIGNALS {
        let number = usize::try_from(signal).unwrap_or(0);
        signal_hook::flag::register_usize(signal, Arc::clone(&came), number)?;
    }
    let looks = std::iter::repeat_with(move || {
        thread::sleep(PATIENCE);
        came.swap(0, Ordering::SeqCst)
    });
    Ok(looks.filter_map(|number| i32::try_from(number).ok().filter(|&signal| signal != 0)))
}

/// Whether this program was started with SIGHUP ignored, so that it outlives its terminal. Where the system does not tell,
/// as only Linux does, it is taken for that, and left as it is.
#[cfg(unix)]
fn hang_up_is_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // The first bit is that of signal 1, which is SIGHUP everywhere.
    ignored.is_none_or(|mask| mask & 1 == 1)
}

/// Says that the first signal was heard, on a thread of its own: standard error may be a pipe that nobody empties.
fn acknowledge() {
    let _none_if_out_of_threads = thread::Builder::new().spawn(|| {
        tracing::info!(
            "asked to stop: what can be saved is saved first; another signal ends it at once"
        );
    });
}

fn end_at_once(signal: i32) -> ! {
    end(
        signal,
        "ended at once by a second signal; what was done since the last checkpoint is lost",
    )
}

/// Ends the process at the first signal of those that [`stop_on_signals`] hears, with this message: for programs that have
/// nothing to save.
///
/// # Errors
/// As [`stop_on_signals`].
pub fn end_on_signals(message: &'static str) -> io::Result<()> {
    let mut signals = arrivals()?;
    let wait = move || {
        if let Some(signal) = signals.next() {
            end(signal, message);
        }
    };
    thread::Builder::new().name("signals".into()).spawn(wait)?;
    Ok(())
}

fn end(signal: i32, message: &'static str) -> ! {
    // Outputs may be pipes that nobody empties, or be held by somebody who waits for that: the end does not wait.
    let (said, heard) = channel();
    let _none_if_out_of_threads = thread::Builder::new().spawn(move || {
        let _ = writeln!(io::stderr(), "error: {message}");
        // What is being printed is printed whole, and nothing begun after it.
        let _whole = io::stdout().lock();
        let _ = said.send(());
        thread::park();
    });
    let _ = heard.recv_timeout(PATIENCE);
    low_level::exit(128 + signal)
}

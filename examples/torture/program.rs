//! The program under torture: started, killed, and its end judged.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use relay_examples::CliError;

/// How often a running program is looked at.
const GLANCE: Duration = Duration::from_micros(300);
/// How long a program may take from a signal to its end, and from its start to its end.
const PATIENCE: Duration = Duration::from_secs(300);

/// A signal by name and number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signal {
    /// Name without `SIG`.
    pub name: &'static str,
    number: i32,
}

/// What a run is killed with.
pub const SIGNALS: [Signal; 3] = [
    Signal {
        name: "KILL",
        number: 9,
    },
    Signal {
        name: "TERM",
        number: 15,
    },
    Signal {
        name: "INT",
        number: 2,
    },
];

/// How a start is to end.
#[derive(Debug)]
pub struct Plan {
    /// The signal.
    pub signal: Signal,
    /// How long after the start.
    pub after: Duration,
    /// Whether to wait from then on until the program is in the middle of writing a file.
    pub at_write: bool,
    /// Whether SIGTERM and SIGINT are sent a second time at once.
    pub again: bool,
}

/// How a start ended.
#[derive(Debug)]
pub enum Ending {
    /// By itself, all work done.
    Completed,
    /// By the signal.
    Killed {
        /// Whether a file was left unfinished.
        writing: bool,
        /// Whether the program had time to save, and said so.
        saved: bool,
    },
    /// In another way than it should.
    Wrong(String),
}

/// The main job.
#[derive(Debug)]
pub struct Program {
    path: PathBuf,
    preset: String,
}

impl Program {
    /// The program that lies beside this one.
    pub fn beside(preset: &str) -> Result<Self, CliError> {
        let path = std::env::current_exe()
            .map_err(CliError::failure)?
            .with_file_name("multitask_relay");
        if !path.exists() {
            return Err(CliError::failure(format!(
                "{} is missing; build it with `cargo build --release -p relay-examples --example multitask_relay`",
                path.display()
            )));
        }
        Ok(Self {
            path,
            preset: preset.to_owned(),
        })
    }

    /// Runs undisturbed from beginning to end.
    pub fn complete(&self, dir: &Path) -> Result<(), CliError> {
        let status = self.spawn(dir, None)?.wait().map_err(CliError::failure)?;
        if status.success() {
            return Ok(());
        }
        let said = said(dir);
        Err(CliError::failure(format!(
            "the undisturbed run failed ({status}): {said}"
        )))
    }

    /// Starts or goes on with the run in `dir`, and ends it as planned; without a plan it runs to its end.
    pub fn start(&self, dir: &Path, threads: u64, plan: Option<&Plan>) -> Result<Ending, CliError> {
        let mut child = self.spawn(dir, Some(threads))?;
        let clock = Instant::now();
        let Some(plan) = plan else {
            let status = wait(&mut child)?;
            return Ok(judge(status, None, dir));
        };
        while clock.elapsed() < plan.after
            || plan.at_write && clock.elapsed() < 4 * plan.after && !writing(dir)
        {
            if let Some(status) = child.try_wait().map_err(CliError::failure)? {
                return Ok(judge(Some(status), None, dir));
            }
            sleep(GLANCE);
        }
        send(&mut child, plan.signal)?;
        if plan.again && plan.signal.name != "KILL" {
            send(&mut child, plan.signal)?;
        }
        let status = wait(&mut child)?;
        Ok(judge(status, Some(plan.signal), dir))
    }

    fn spawn(&self, dir: &Path, threads: Option<u64>) -> Result<Child, CliError> {
        let log = File::create(log_of(dir)).map_err(CliError::failure)?;
        let mut command = Command::new(&self.path);
        command
            .args(["--preset", &self.preset, "--resume", "--run-dir"])
            .arg(dir)
            .env("RUST_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        if let Some(threads) = threads {
            command.env("RAYON_NUM_THREADS", threads.to_string());
        }
        command.spawn().map_err(CliError::failure)
    }
}

/// What the status of an ended program means; none if it did not end in time.
fn judge(status: Option<ExitStatus>, sent: Option<Signal>, dir: &Path) -> Ending {
    let Some(status) = status else {
        return Ending::Wrong(format!("it did not end within {PATIENCE:?}"));
    };
    let said = said(dir);
    let expected = match (sent, status.code(), signal_of(status)) {
        (_, Some(0), _) => return Ending::Completed,
        (Some(sent), Some(code), _) => code == 128 + sent.number && sent.name != "KILL",
        // Before it has set up its handlers, every signal ends it.
        (Some(sent), None, Some(signal)) => signal == sent.number,
        _ => false,
    };
    if !expected || said.contains("panicked") {
        return Ending::Wrong(format!("it ended with {status} and said: {said}"));
    }
    Ending::Killed {
        writing: writing(dir),
        saved: said.contains("go on with"),
    }
}

#[cfg(unix)]
fn signal_of(status: ExitStatus) -> Option<i32> {
    std::os::unix::process::ExitStatusExt::signal(&status)
}

/// Without signals there are none to tell: the program is for Unix, and need only build elsewhere.
#[cfg(not(unix))]
fn signal_of(_status: ExitStatus) -> Option<i32> {
    None
}

/// Waits for the end; kills what does not come to it.
fn wait(child: &mut Child) -> Result<Option<ExitStatus>, CliError> {
    let clock = Instant::now();
    while clock.elapsed() < PATIENCE {
        if let Some(status) = child.try_wait().map_err(CliError::failure)? {
            return Ok(Some(status));
        }
        sleep(GLANCE);
    }
    child.kill().map_err(CliError::failure)?;
    child.wait().map_err(CliError::failure)?;
    Ok(None)
}

fn send(child: &mut Child, signal: Signal) -> Result<(), CliError> {
    if signal.name == "KILL" {
        return child.kill().map_err(CliError::failure);
    }
    // It fails if the program has just ended, which shows in its status.
    Command::new("sh")
        .args(["-c", &format!("kill -s {} {}", signal.name, child.id())])
        .stderr(Stdio::null())
        .status()
        .map(|_| ())
        .map_err(CliError::failure)
}

/// Whether there is a file or directory that is still being written, or was when its writer died.
fn writing(dir: &Path) -> bool {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).any(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with('.') || name.ends_with(".partial") || path.is_dir() && writing(&path)
    })
}

fn log_of(dir: &Path) -> PathBuf {
    dir.with_extension("stderr")
}

/// What the last start printed as errors and warnings: the end of it.
fn said(dir: &Path) -> String {
    let text = fs::read_to_string(log_of(dir)).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(8)..].join(" | ")
}

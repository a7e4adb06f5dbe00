//! SIGINT and SIGTERM ask for a stop at the next step; a second one ends the program at once.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize},
};

use signal_hook::{consts::TERM_SIGNALS, flag};

/// Sets `stop` at the first SIGINT, SIGTERM or SIGQUIT and ends the process at the second; gives the number of the
/// signal that came, 0 before any.
///
/// # Errors
/// When the operating system refuses to register a handler.
pub fn stop_on_signals(stop: &Arc<AtomicBool>) -> std::io::Result<Arc<AtomicUsize>> {
    let seen = Arc::new(AtomicUsize::new(0));
    for &signal in TERM_SIGNALS {
        // Order matters: the shutdown looks at `stop` before this signal sets it.
        flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(stop))?;
        flag::register(signal, Arc::clone(stop))?;
        let number = usize::try_from(signal).unwrap_or(0);
        flag::register_usize(signal, Arc::clone(&seen), number)?;
    }
    Ok(seen)
}

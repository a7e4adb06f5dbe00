//! Commands as a shell reads them.

use std::{ffi::OsString, path::Path};

/// A word as a shell reads it back.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "=._,:/+-".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// How to go on with what was stopped: where it lies, and the command that goes on, which is the one that began it, with
/// `--resume` where `with_resume` asks for it.
pub(crate) fn how_to_go_on(dir: &Path, with_resume: bool) -> String {
    let (dir, command) = (dir.display(), same_command(with_resume));
    format!("what is done lies in {dir}; go on with: {command}")
}

/// The command that is running, to be typed again, with `--resume` where `with_resume` asks for it.
pub(crate) fn same_command(with_resume: bool) -> String {
    again(std::env::args_os(), with_resume).unwrap_or_else(|| {
        let option = if with_resume { " and --resume" } else { "" };
        format!("the same command{option}")
    })
}

/// The command of these words, the program first, to be typed again; none where a word is no text.
fn again(words: impl Iterator<Item = OsString>, with_resume: bool) -> Option<String> {
    let resume = with_resume.then(|| "--resume".into());
    let words = words.chain(resume).map(|word| word.into_string().ok());
    let words: Option<Vec<String>> = words.map(|word| Some(quoted(&word?))).collect();
    Some(words?.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_where_a_shell_would_read_others() {
        assert_eq!(quoted("it's"), "'it'\\''s'");
        assert_eq!(quoted(""), "''");
        assert_eq!(quoted("my runs/a"), "'my runs/a'");
        assert_eq!(quoted("runs/a-1"), "runs/a-1");
    }

    #[test]
    fn the_same_command_goes_on() {
        let typed = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        let words = typed(&["relay", "--settings", "my settings.json"]);
        let command = |resume| again(words.clone().into_iter(), resume).unwrap();
        assert_eq!(command(false), "relay --settings 'my settings.json'");
        assert_eq!(
            command(true),
            "relay --settings 'my settings.json' --resume"
        );
    }
}

//! Names from data as parts of file names.

/// The most characters of a name that are kept.
const LONGEST: usize = 40;

/// `text` as part of a file's name: one that leads nowhere else, can be long, and is that of no other text.
///
/// Names of tasks come from data files, those of arms from results: either may hold what is a path.
pub(crate) fn file_name(text: &str) -> String {
    let fit = |c: char| match c {
        c if c.is_alphanumeric() || " =._-+".contains(c) => c,
        _ => '-',
    };
    let name: String = text.chars().take(LONGEST).map(fit).collect();
    if name == text {
        return name;
    }
    let hash = blake3::hash(text.as_bytes()).to_hex();
    format!("{name}_{}", &hash[..8])
}

#[cfg(test)]
mod tests {
    use std::path::{Component, Path};

    use super::file_name;

    #[test]
    fn leads_nowhere_and_is_that_of_one_text() {
        for kept in ["ari", "my data", "längste", "a.b-c_d=1+2"] {
            assert_eq!(file_name(kept), kept);
        }
        let long = "x".repeat(1000);
        let texts = [
            "../x",
            "--x",
            "/etc/x",
            "a/../../x",
            "a\\x",
            "a\0x",
            "a\nx",
            &long,
        ];
        let names: Vec<String> = texts.iter().map(|text| file_name(text)).collect();
        for (index, name) in names.iter().enumerate() {
            let base = format!("figures/of_{name}_5");
            let parts = Path::new(&base).components();
            assert_eq!(
                parts
                    .filter(|part| matches!(part, Component::Normal(_)))
                    .count(),
                2
            );
            assert!(
                base.len() < 100 && !base.contains(['\\', '\0', '\n']),
                "{base}"
            );
            assert!(!names[..index].contains(name), "{name}");
        }
    }
}

//! What the reader of JSON says of a value, in words of settings.

use crate::PipelineError;

pub(super) const AN_OBJECT: &str = "an object with the fields that `settings.json` shows";

/// The reader names the field or the kind it wanted, not the path.
pub(super) fn not_read_back(path: &str, value: &str, message: &str) -> PipelineError {
    let expected = in_words(message);
    let field = path.rsplit('.').next().unwrap_or(path);
    if message.contains(&format!("unknown field `{field}`")) {
        return PipelineError::settings(
            path,
            format!("no setting: there is no `{field}`"),
            expected,
        );
    }
    PipelineError::settings(path, value, expected)
}

/// What the reader of JSON says would be right, without the names of Rust's types.
pub(crate) fn in_words(message: &str) -> String {
    if let Some(field) = message.strip_prefix("missing field ") {
        return format!("an object that has {field}, too");
    }
    let expected = message
        .split_once("expected ")
        .map_or(message, |(_, expected)| expected);
    match expected {
        "u64" | "usize" | "u32" | "u16" | "u8" => "a whole number of at least 0".to_owned(),
        "i64" | "isize" | "i32" => "a whole number".to_owned(),
        "f32" | "f64" => "a number".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a sequence" => "a list".to_owned(),
        "fewer elements in array" => "a shorter list".to_owned(),
        "map" | "a map" | "string or map" | "struct variant" => AN_OBJECT.to_owned(),
        name if name.starts_with("struct ") => AN_OBJECT.to_owned(),
        other => other.to_owned(),
    }
}

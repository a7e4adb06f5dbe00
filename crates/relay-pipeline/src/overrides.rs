//! Settings changed by path: `looped_aligned.lambda=0.1`.

use std::{fmt, str::FromStr};

use serde_json::Value;

use crate::{PipelineError, Result, Settings, json::to_value};

/// One changed setting, `PATH=VALUE` as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    /// Where the setting stands; see [`Settings::set`].
    pub path: String,
    /// Its value as JSON; a word needs no quotes.
    pub value: String,
}

impl FromStr for Override {
    type Err = PipelineError;

    fn from_str(text: &str) -> Result<Self> {
        match text.split_once('=') {
            Some((path, value)) if !path.trim().is_empty() && !value.trim().is_empty() => {
                Ok(Self {
                    path: path.trim().to_owned(),
                    value: value.trim().to_owned(),
                })
            }
            _ => Err(PipelineError::settings(
                format!("`{text}`"),
                "no change of a setting",
                "PATH=VALUE, such as looped_aligned.lambda=0.1",
            )),
        }
    }
}

impl fmt::Display for Override {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.path, self.value)
    }
}

impl Settings {
    /// Changes the setting at `path`, the names in `settings.json` joined by dots; a number is a place in a list.
    ///
    /// `value` is JSON; what is no JSON is a word, so that `none` means `"none"`. Three beginnings are short for others:
    /// `stage1.` for `looped_aligned.`, `stage2.` for `ar_relay.`, and `model.` for `looped.transformer.` and
    /// `causal.transformer.` both.
    ///
    /// The settings as a whole are not checked, because some values are right only once another one has been changed too;
    /// [`with`](Self::with) does.
    ///
    /// ```
    /// let mut settings = relay_pipeline::preset("mini", 1)?;
    /// settings.set("stage1.lambda", "0.5")?;
    /// settings.set("data.generated.0.train.1", "5")?;
    /// assert_eq!(settings.looped_aligned.lambda, 0.5);
    /// # Ok::<(), relay_pipeline::PipelineError>(())
    /// ```
    ///
    /// # Errors
    /// When there is no such setting (what there is is listed), it is one that a run derives from others, or the value is of
    /// another kind; path and value are named.
    pub fn set(&mut self, path: &str, value: &str) -> Result<()> {
        let mut json = to_value(self)?;
        let parsed =
            serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
        for full in full_paths(path) {
            refuse_without_effect(&full, path, value)?;
            put(&mut json, &full, path, parsed.clone())?;
        }
        *self =
            serde_json::from_value(json).map_err(|e| not_read_back(path, value, &e.to_string()))?;
        Ok(())
    }

    /// These settings with all of `overrides`, checked.
    ///
    /// # Errors
    /// As [`set`](Self::set), and when a value is out of its range or several do not go together.
    pub fn with(&self, overrides: &[Override]) -> Result<Self> {
        let mut settings = self.clone();
        for Override { path, value } in overrides {
            settings.set(path, value)?;
        }
        let Err(error) = settings.validate() else {
            return Ok(settings);
        };
        // The first that is wrong by itself is named by its path; else it is their combination.
        let alone = |Override { path, value }: &Override| {
            let mut settings = self.clone();
            settings.set(path, value).ok()?;
            let wanted = wanted(settings.validate().err()?);
            Some(PipelineError::settings(path, value, wanted))
        };
        Err(overrides.iter().find_map(alone).unwrap_or(error))
    }
}

/// What the error of a check says would be right.
fn wanted(error: PipelineError) -> String {
    match error {
        PipelineError::Settings { right, .. } => right,
        other => format!("such that the settings are valid: {other}"),
    }
}

/// The paths in `settings.json` that `path` stands for.
pub(crate) fn full_paths(path: &str) -> Vec<String> {
    let (first, rest) = path.split_at(path.find('.').unwrap_or(path.len()));
    let places: &[&str] = match first {
        "stage1" => &["looped_aligned"],
        "stage2" => &["ar_relay"],
        "model" => &["looped.transformer", "causal.transformer"],
        _ => return vec![path.to_owned()],
    };
    places
        .iter()
        .map(|place| format!("{place}{rest}"))
        .collect()
}

/// That a setting is not one of those that a run derives from others: it would change nothing.
fn refuse_without_effect(full: &str, path: &str, value: &str) -> Result<()> {
    let right = if full.ends_with(".train.seed") {
        "left alone: every training draws its seed from that of the run"
    } else if full.ends_with(".vocab") {
        "left alone: the data say how many tokens there are"
    } else {
        return Ok(());
    };
    Err(PipelineError::settings(path, value, right))
}

/// Puts `value` at `full`, which was asked for as `path`. A field that is not there may be one that is left out where it
/// has its default: reading the settings back tells.
fn put(json: &mut Value, full: &str, path: &str, value: Value) -> Result<()> {
    let keys: Vec<&str> = full.split('.').collect();
    let mut place = json;
    for (depth, key) in keys.iter().enumerate() {
        let last = depth + 1 == keys.len();
        check(place, key, &keys[..depth].join("."), last, path)?;
        place = match place {
            Value::Object(map) => map.entry(*key).or_insert(Value::Null),
            list => &mut list[key.parse::<usize>().unwrap_or(0)],
        };
    }
    *place = value;
    Ok(())
}

/// Whether there is, or may be, a `key` in `place`, which stands at `above`.
fn check(place: &Value, key: &str, above: &str, last: bool, path: &str) -> Result<()> {
    let (found, right) = match place {
        Value::Object(map) if last || map.contains_key(key) => return Ok(()),
        Value::Object(map) => {
            let names: Vec<&str> = map.keys().map(String::as_str).collect();
            (format!("there is no `{key}`"), one_of(above, &names))
        }
        Value::Array(items) => match key.parse::<usize>() {
            Ok(index) if index < items.len() => return Ok(()),
            _ => (
                format!("`{key}` is no place in the list `{above}`"),
                format!("a number below {}", items.len()),
            ),
        },
        other => (
            format!("`{above}` is {other} and has no parts"),
            "a path to a setting".to_owned(),
        ),
    };
    let found = format!("no setting: {found}");
    Err(PipelineError::settings(path, found, right))
}

fn one_of(above: &str, names: &[&str]) -> String {
    let names = names.join(", ");
    if above.is_empty() {
        format!("one of {names}")
    } else {
        format!("one of {names} in `{above}`")
    }
}

/// The reader names the field or the kind it wanted, not the path.
fn not_read_back(path: &str, value: &str, message: &str) -> PipelineError {
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

const AN_OBJECT: &str = "an object with the fields that `settings.json` shows";

#[cfg(test)]
mod tests;

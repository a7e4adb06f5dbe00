//! Where a path leads in the JSON of settings.

use serde_json::Value;

use crate::{PipelineError, Result};

/// Puts `value` at `full`, which was asked for as `path`. A field that is not there may be one that is left out where it
/// has its default: reading the settings back tells.
pub(super) fn put(json: &mut Value, full: &str, path: &str, value: Value) -> Result<()> {
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

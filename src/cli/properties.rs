//! One thing with all its properties, or one of them: `-P`.

use serde_json::Value;

use super::error::Error;
use super::flags::PropertyFlags;
use super::table::{self, Format};
use super::talk::Talk;

/// Shows a thing; its links only when they are asked for.
pub fn show(mut thing: Value, flags: &PropertyFlags, talk: &mut Talk<'_>) -> Result<(), Error> {
    if let Some(path) = &flags.property {
        let value = find(&thing, path)?;
        return talk.answer(&plain(value));
    }
    if flags.list.format == Format::Json {
        return talk.answer(&format!("{thing:#}"));
    }
    let mut lines = if flags.list.no_header { Vec::new() } else { vec![vec!["Property".into(), "Value".into()]] };
    if let Some(map) = thing.as_object_mut() {
        map.remove("_links");
        lines.extend(map.iter().map(|(key, value)| vec![key.clone(), table::text(value)]));
    }
    table::print(&lines, flags.list.format, talk)
}

fn find<'a>(thing: &'a Value, path: &str) -> Result<&'a Value, Error> {
    let mut value = thing;
    for key in path.split('.') {
        let here = value;
        let index = || key.parse::<usize>().ok().and_then(|index| here.get(index));
        value = here.get(key).or_else(index).ok_or_else(|| {
            let known: Vec<&str> =
                here.as_object().map(|map| map.keys().map(String::as_str).collect()).unwrap_or_default();
            let hint = (!known.is_empty()).then(|| format!("There are: {}.", known.join(", ")));
            Error::Refused { message: format!("There is no property `{key}` in `{path}`"), hint }
        })?;
    }
    Ok(value)
}

/// A string as it is, so that scripts need not unquote it.
fn plain(value: &Value) -> String {
    match value {
        Value::Object(_) | Value::Array(_) => format!("{value:#}"),
        other => table::text(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_property_is_found_by_its_path() {
        let thing = serde_json::json!({"id": "x", "attributes": {"note": null}, "environments": ["main"]});
        let find = |path: &str| find(&thing, path).map(plain);
        assert_eq!(find("id").expect("there"), "x");
        assert_eq!(find("attributes.note").expect("there"), "");
        assert_eq!(find("environments.0").expect("there"), "main");
        let error = find("attributes.nope").expect_err("not there");
        assert_eq!((error.code(), error.hint().as_deref()), (1, Some("There are: note.")));
    }
}

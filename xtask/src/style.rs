//! One style sheet out of `style/`: imports are put in place, comments and blank space go.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// The sheet with everything it imports, each file once, where it was imported first.
///
/// Understands `@import "x.css";`, `@import url(x.css);` and a trailing `layer(name)`, each on a line of its own.
pub fn load(main: &Path) -> Result<String> {
    let mut sheet = String::new();
    append(main, &mut sheet, &mut Vec::new())?;
    Ok(shrink(&sheet))
}

fn append(file: &Path, sheet: &mut String, seen: &mut Vec<PathBuf>) -> Result<()> {
    let text = fs::read_to_string(file).with_context(|| format!("could not read {}", file.display()))?;
    let folder = file.parent().unwrap_or(Path::new(""));
    for (number, line) in text.lines().enumerate() {
        let Some(import) = line.trim().strip_prefix("@import") else {
            sheet.push_str(line);
            sheet.push('\n');
            continue;
        };
        let place = || format!("{}:{}", file.display(), number + 1);
        let Some((name, layer)) = parse_import(import) else {
            bail!("{}: write it as `@import \"name.css\";` on a line of its own", place());
        };
        let imported = folder.join(name);
        if seen.contains(&imported) {
            continue;
        }
        seen.push(imported.clone());
        if let Some(layer) = layer {
            sheet.push_str(&format!("@layer {layer} {{\n"));
        }
        append(&imported, sheet, seen).with_context(|| format!("{}: imports {name}", place()))?;
        if layer.is_some() {
            sheet.push_str("}\n");
        }
    }
    Ok(())
}

/// The file's name and its layer, from what stands between `@import` and the end of the line.
fn parse_import(import: &str) -> Option<(&str, Option<&str>)> {
    let import = import.trim().strip_suffix(';')?.trim();
    let (name, rest) = match import.strip_prefix("url(") {
        Some(rest) => {
            let (name, rest) = rest.split_once(')')?;
            (name.trim().trim_matches(['"', '\'']), rest)
        }
        None => {
            let quote = import.chars().next().filter(|c| matches!(c, '"' | '\''))?;
            import[1..].split_once(quote)?
        }
    };
    let layer = match rest.trim() {
        "" => None,
        rest => Some(rest.strip_prefix("layer(")?.strip_suffix(')')?),
    };
    Some((name, layer))
}

/// Drops comments, and blank space where CSS gives it no meaning. Texts in quotes stay as they are.
fn shrink(sheet: &str) -> String {
    let mut out = String::with_capacity(sheet.len());
    let mut chars = sheet.chars().peekable();
    let mut blank = false;
    while let Some(c) = chars.next() {
        if c == '/' && chars.peek() == Some(&'*') {
            chars.next();
            let mut before = ' ';
            for c in chars.by_ref() {
                if before == '*' && c == '/' {
                    break;
                }
                before = c;
            }
            blank = true;
            continue;
        }
        if c.is_whitespace() {
            blank = true;
            continue;
        }
        let closes = matches!(c, '{' | '}' | ';' | ',');
        let after_mark = out.chars().next_back().is_none_or(|last| matches!(last, '{' | '}' | ';' | ','));
        if blank && !closes && !after_mark {
            out.push(' ');
        }
        blank = false;
        if c == '}' && out.ends_with(';') {
            out.pop();
        }
        out.push(c);
        if matches!(c, '"' | '\'') {
            let mut escaped = false;
            for inner in chars.by_ref() {
                out.push(inner);
                if !escaped && inner == c {
                    break;
                }
                escaped = inner == '\\' && !escaped;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shrinking_keeps_what_blank_space_means() {
        let sheet = "/* a */ a :hover , b {\n  margin: 0 calc(1px + 2px);\n  content: \"/* ; } */  x\";\n}\n\n@media (a) and (b) { p { top: 0; } }";
        assert_eq!(
            shrink(sheet),
            "a :hover,b{margin: 0 calc(1px + 2px);content: \"/* ; } */  x\"}@media (a) and (b){p{top: 0}}"
        );
    }

    #[test]
    fn imports_are_read_with_url_quotes_and_layer() {
        assert_eq!(parse_import(" \"a.css\";"), Some(("a.css", None)));
        assert_eq!(parse_import(" url('b.css') layer(base) ;"), Some(("b.css", Some("base"))));
        assert_eq!(parse_import(" \"c.css\" print;"), None);
    }
}

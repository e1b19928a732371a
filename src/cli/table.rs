//! Lists as `table` (S4's form), `plain`, `csv`, `tsv` or `json`, with the columns that were asked for.

use clap::ValueEnum;
use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{Table, TableComponent};
use serde_json::{Map, Value};

use super::error::Error;
use super::flags::ListFlags;
use super::talk::Talk;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    #[default]
    Table,
    /// Tab-separated, nothing quoted
    Plain,
    Csv,
    Tsv,
    Json,
}

/// A column: how scripts call it, what stands above it, and its value in a row.
pub struct Column<T> {
    pub key: &'static str,
    pub header: &'static str,
    pub value: fn(&T, &Look) -> Value,
}

/// How values are to look.
#[derive(Debug, Default)]
pub struct Look {
    pub dates: super::dates::DateFormat,
}

/// Writes the rows; an empty list is still a list to a machine.
pub fn write<T>(
    rows: &[T],
    columns: &[Column<T>],
    defaults: &[&'static str],
    flags: &ListFlags,
    talk: &mut Talk<'_>,
) -> Result<(), Error> {
    let look = flags.look()?;
    let chosen = choose(columns, defaults, &flags.columns)?;
    let cells: Vec<Vec<Value>> =
        rows.iter().map(|row| chosen.iter().map(|column| (column.value)(row, &look)).collect()).collect();
    if flags.format == Format::Json {
        let keys: Vec<&str> = chosen.iter().map(|column| column.key).collect();
        return talk.answer(&objects(&keys, cells));
    }
    let header: Vec<String> = chosen.iter().map(|column| column.header.to_owned()).collect();
    let mut lines: Vec<Vec<String>> = if flags.no_header { Vec::new() } else { vec![header] };
    lines.extend(cells.iter().map(|row| row.iter().map(text).collect()));
    print(&lines, flags.format, talk)
}

/// Writes lines that are text already.
pub fn print(lines: &[Vec<String>], format: Format, talk: &mut Talk<'_>) -> Result<(), Error> {
    match format {
        Format::Table | Format::Json => {
            if lines.is_empty() {
                return Ok(());
            }
            talk.answer(&bars(lines))
        }
        Format::Plain => lines.iter().try_for_each(|line| talk.answer(&line.join("\t"))),
        Format::Csv => separated(lines, b',', talk),
        Format::Tsv => separated(lines, b'\t', talk),
    }
}

/// S4's table: bars between the columns, no lines between the rows.
fn bars(lines: &[Vec<String>]) -> String {
    let mut table = Table::new();
    table.load_preset(ASCII_MARKDOWN);
    for component in [
        TableComponent::HeaderLines,
        TableComponent::LeftHeaderIntersection,
        TableComponent::MiddleHeaderIntersections,
        TableComponent::RightHeaderIntersection,
    ] {
        table.remove_style(component);
    }
    lines.iter().for_each(|line| {
        table.add_row(line);
    });
    table.to_string()
}

fn separated(lines: &[Vec<String>], delimiter: u8, talk: &mut Talk<'_>) -> Result<(), Error> {
    let mut writer = csv::WriterBuilder::new().delimiter(delimiter).from_writer(&mut *talk.out);
    for line in lines {
        writer.write_record(line).map_err(std::io::Error::from)?;
    }
    Ok(writer.flush()?)
}

fn objects(keys: &[&str], rows: Vec<Vec<Value>>) -> String {
    let named = |row: Vec<Value>| keys.iter().map(|key| (*key).to_owned()).zip(row).collect::<Map<_, _>>();
    let list: Vec<Value> = rows.into_iter().map(|row| Value::Object(named(row))).collect();
    format!("{:#}", Value::Array(list))
}

/// The columns asked for; `+` stands for the default ones.
fn choose<'a, T>(
    columns: &'a [Column<T>],
    defaults: &[&'static str],
    asked: &[String],
) -> Result<Vec<&'a Column<T>>, Error> {
    let plus = ["+".to_owned()];
    let asked = if asked.is_empty() { &plus[..] } else { asked };
    let mut keys: Vec<String> = Vec::new();
    for word in asked.iter().map(|word| word.trim().to_lowercase()).filter(|word| !word.is_empty()) {
        match word.strip_prefix('+') {
            Some("") => keys.extend(defaults.iter().map(|key| (*key).to_owned())),
            Some(key) => keys.extend(defaults.iter().copied().chain([key]).map(str::to_owned)),
            None => keys.push(word),
        }
    }
    let mut chosen: Vec<&Column<T>> = Vec::new();
    for key in keys {
        let column = columns.iter().find(|column| column.key == key).ok_or_else(|| {
            let known: Vec<&str> = columns.iter().map(|column| column.key).collect();
            Error::Usage(format!("there is no column `{key}`; there are: {}", known.join(", ")))
        })?;
        if !chosen.iter().any(|other| other.key == column.key) {
            chosen.push(column);
        }
    }
    Ok(chosen)
}

/// A value as text, without anything that a terminal would obey.
pub fn text(value: &Value) -> String {
    let text = match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::talk::Terminal;

    const COLUMNS: &[Column<(&str, u8)>] = &[
        Column { key: "name", header: "Name", value: |row, _| row.0.into() },
        Column { key: "percent", header: "% Complete", value: |row, _| row.1.into() },
        Column { key: "note", header: "Note", value: |_, _| Value::Null },
    ];

    fn written(format: Format, columns: &[&str], no_header: bool) -> Result<String, Error> {
        let columns = columns.iter().map(|text| (*text).to_owned()).collect();
        let flags = ListFlags { format, columns, no_header, date_fmt: None };
        let (mut out, mut err, mut input) = (Vec::new(), Vec::new(), std::io::empty());
        let mut talk = Talk::new(&mut out, &mut err, &mut input, Terminal::default());
        let rows = [("a, \u{1b}[31mb", 100), ("c", 7)];
        write(&rows, COLUMNS, &["name", "percent"], &flags, &mut talk)?;
        Ok(String::from_utf8(out).expect("UTF-8"))
    }

    #[test]
    fn every_format_has_its_form() {
        insta::assert_snapshot!(written(Format::Table, &[], false).expect("written"), @r"
        | Name      | % Complete |
        | a,  [31mb | 100        |
        | c         | 7          |
        ");
        let plain = written(Format::Plain, &[], true).expect("written");
        assert_eq!(plain, "a,  [31mb\t100\nc\t7\n");
        let csv = written(Format::Csv, &["percent", "name"], false).expect("written");
        assert_eq!(csv, "% Complete,Name\n100,\"a,  [31mb\"\n7,c\n");
        let json: Value = serde_json::from_str(&written(Format::Json, &["name", "note"], false).expect("written"))
            .expect("valid JSON");
        assert_eq!(json, serde_json::json!([{"name": "a, \u{1b}[31mb", "note": null}, {"name": "c", "note": null}]));
    }

    #[test]
    fn a_plus_stands_for_the_default_columns() {
        for columns in [&["+", "note"][..], &["+note"]] {
            let csv = written(Format::Csv, columns, false).expect("written");
            assert_eq!(csv.lines().next(), Some("Name,% Complete,Note"));
        }
    }

    #[test]
    fn an_unknown_column_is_answered_with_the_known_ones() {
        let error = written(Format::Csv, &["nam"], false).expect_err("unknown");
        assert_eq!(error.to_string(), "there is no column `nam`; there are: name, percent, note");
        assert_eq!(error.code(), 2);
    }
}

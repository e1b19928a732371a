//! A statement whose conditions depend on what is asked: with `$n` for every value, which both databases understand.
//! (sqlx's own builder writes `?` for `Any`, which PostgreSQL does not.)

use sqlx::any::AnyRow;

use super::{Db, Error};

pub(super) struct Sql {
    text: String,
    values: Vec<Value>,
}

enum Value {
    Text(String),
    Number(i64),
}

impl Sql {
    pub(super) fn new(text: &'static str) -> Self {
        Self { text: text.to_owned(), values: Vec::new() }
    }

    pub(super) fn push(&mut self, text: &'static str) -> &mut Self {
        self.text.push_str(text);
        self
    }

    pub(super) fn text(&mut self, value: impl Into<String>) -> &mut Self {
        self.value(Value::Text(value.into()))
    }

    pub(super) fn number(&mut self, value: i64) -> &mut Self {
        self.value(Value::Number(value))
    }

    /// The column has one of the values; of none: never true. A single one is compared by `=`, which lets an index give
    /// the order as well.
    pub(super) fn one_of<'a>(&mut self, column: &'static str, values: impl IntoIterator<Item = &'a str>) -> &mut Self {
        let values: Vec<&str> = values.into_iter().collect();
        match *values {
            [] => self.push("1 = 0"),
            [one] => self.push(column).push(" = ").text(one),
            [first, ref others @ ..] => {
                self.push(column).push(" IN (").text(first);
                for value in others {
                    self.push(", ").text(*value);
                }
                self.push(")")
            }
        }
    }

    fn value(&mut self, value: Value) -> &mut Self {
        self.values.push(value);
        self.text.push_str(&format!("${}", self.values.len()));
        self
    }

    /// # Errors
    /// When the database fails.
    pub(super) async fn fetch_all(self, db: &mut Db) -> Result<Vec<AnyRow>, Error> {
        // Only texts of the program stand in it; everything from outside is bound.
        let mut query = sqlx::query(sqlx::AssertSqlSafe(self.text));
        for value in self.values {
            query = match value {
                Value::Text(text) => query.bind(text),
                Value::Number(number) => query.bind(number),
            };
        }
        Ok(query.fetch_all(db).await?)
    }
}

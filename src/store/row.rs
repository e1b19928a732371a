//! From columns to the domain's types.

use std::error::Error as Cause;
use std::str::FromStr;

use serde::de::DeserializeOwned;
use sqlx::Row as _;
use sqlx::any::AnyRow;

use super::Error;
use crate::domain::{Bytes, Timestamp};

pub(super) trait Columns {
    fn text(&self, column: &'static str) -> Result<String, Error>;
    fn number(&self, column: &'static str) -> Result<i64, Error>;
    fn optional_text(&self, column: &'static str) -> Result<Option<String>, Error>;
    fn optional_number(&self, column: &'static str) -> Result<Option<i64>, Error>;

    /// A text that is an id or a word of a closed list.
    fn word<T>(&self, column: &'static str) -> Result<T, Error>
    where
        T: FromStr,
        T::Err: Cause + Send + Sync + 'static,
    {
        self.text(column)?.parse().map_err(Error::corrupt(column))
    }

    fn optional_word<T>(&self, column: &'static str) -> Result<Option<T>, Error>
    where
        T: FromStr,
        T::Err: Cause + Send + Sync + 'static,
    {
        self.optional_text(column)?.map(|text| text.parse().map_err(Error::corrupt(column))).transpose()
    }

    fn time(&self, column: &'static str) -> Result<Timestamp, Error> {
        self.number(column).map(Timestamp::from_micros)
    }

    fn optional_time(&self, column: &'static str) -> Result<Option<Timestamp>, Error> {
        Ok(self.optional_number(column)?.map(Timestamp::from_micros))
    }

    fn flag(&self, column: &'static str) -> Result<bool, Error> {
        Ok(self.number(column)? != 0)
    }

    fn bytes(&self, column: &'static str) -> Result<Bytes, Error> {
        u64::try_from(self.number(column)?).map(Bytes).map_err(Error::corrupt(column))
    }

    fn json<T: DeserializeOwned>(&self, column: &'static str) -> Result<T, Error> {
        serde_json::from_str(&self.text(column)?).map_err(Error::corrupt(column))
    }
}

impl Columns for AnyRow {
    fn text(&self, column: &'static str) -> Result<String, Error> {
        Ok(self.try_get(column)?)
    }
    fn number(&self, column: &'static str) -> Result<i64, Error> {
        Ok(self.try_get(column)?)
    }
    fn optional_text(&self, column: &'static str) -> Result<Option<String>, Error> {
        Ok(self.try_get(column)?)
    }
    fn optional_number(&self, column: &'static str) -> Result<Option<i64>, Error> {
        Ok(self.try_get(column)?)
    }
}

/// Values of the domain are always written as JSON that can be read back.
pub(super) fn to_json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("the domain's types have string keys and no failing serializers")
}

/// Sizes beyond 8 EiB don't occur.
pub(super) fn to_bigint(bytes: Bytes) -> i64 {
    i64::try_from(bytes.0).unwrap_or(i64::MAX)
}

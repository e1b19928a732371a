//! Flags that several commands share, with what they mean.

use std::str::FromStr;

use clap::Args;

use super::dates::DateFormat;
use super::error::Error;
use super::table::{Format, Look};
use crate::domain::ids::{EnvironmentName, InvalidId, ProjectId};

/// How questions are answered.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct AnswerFlags {
    /// Answer yes to every question
    #[arg(short, long, global = true, conflicts_with = "no")]
    pub yes: bool,
    /// Answer no to every question
    #[arg(short, long, global = true)]
    pub no: bool,
    /// Ask nothing; what would destroy data then needs --yes
    #[arg(long, global = true)]
    pub no_interaction: bool,
}

/// Where to act.
#[derive(Debug, Clone, Default, Args)]
pub struct PlaceFlags {
    /// Project
    #[arg(short, long, value_name = "ID")]
    pub project: Option<ProjectId>,
    /// Environment; `.` is the project's production environment
    #[arg(short, long, value_name = "NAME")]
    pub environment: Option<EnvironmentChoice>,
}

/// Whether a snapshot comes first (R10); without either, as the server advises.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct FirstFlags {
    /// Take a snapshot first, whatever is advised
    #[arg(long)]
    pub snapshot: bool,
    /// Take none
    #[arg(long, conflicts_with = "snapshot")]
    pub no_snapshot: bool,
}

impl FirstFlags {
    pub fn wish(self) -> Option<bool> {
        (self.snapshot || self.no_snapshot).then_some(self.snapshot)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnvironmentChoice {
    /// `.`
    Production,
    Named(EnvironmentName),
}

impl FromStr for EnvironmentChoice {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        match text {
            "." => Ok(Self::Production),
            name => EnvironmentName::of_branch(name).map(Self::Named),
        }
    }
}

#[derive(Debug, Clone, Copy, Default, Args)]
pub struct WaitFlags {
    /// Return as soon as the request is stored
    #[arg(short = 'W', long)]
    pub no_wait: bool,
    /// Wait even where not waiting is assumed: in a deploy hook or cron job
    #[arg(long, conflicts_with = "no_wait")]
    pub wait: bool,
}

#[derive(Debug, Clone, Default, Args)]
pub struct ListFlags {
    /// How to write the list
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub format: Format,
    /// Columns, separated by commas; `+` stands for the default ones
    #[arg(short, long, value_delimiter = ',', value_name = "COLUMNS")]
    pub columns: Vec<String>,
    /// Leave the header out
    #[arg(long)]
    pub no_header: bool,
    /// Format of dates: `%Y-%m-%d %H:%M`, or PHP's letters (`c`); always UTC
    #[arg(long, value_name = "FORMAT")]
    pub date_fmt: Option<String>,
}

impl ListFlags {
    pub fn look(&self) -> Result<Look, Error> {
        let dates = self.date_fmt.as_deref().map(DateFormat::parse).transpose()?.unwrap_or_default();
        Ok(Look { dates })
    }
}

#[derive(Debug, Clone, Default, Args)]
pub struct PropertyFlags {
    /// Show only this property; dots lead further in, e.g. `attributes.note`
    #[arg(short = 'P', long, value_name = "NAME")]
    pub property: Option<String>,
    #[command(flatten)]
    pub list: ListFlags,
}

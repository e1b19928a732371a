//! The point at which a server stands.
//!
//! **Invariant:** moves with every commit that wrote, in any database of the server; never missed, whether the binary log
//! is on, off, or passed by (`sql_log_bin = 0`).
//!
//! InnoDB gives every transaction that writes a number when it first writes and another one when it commits, and keeps
//! counting over restarts. Tables without transactions are seen by the rows that statements write, and by the commands that
//! change tables as a whole. Reading, purging, flushing and checkpoints move none of these.

use std::time::Duration;

use super::session::{Cells, Session};
use crate::drivers::{Error, Position};

/// Inside a hold.
const WAIT: Duration = Duration::from_millis(500);

const DEFINING: &str = "'COM_ALTER_TABLE', 'COM_CREATE_TABLE', 'COM_DROP_TABLE', 'COM_RENAME_TABLE', 'COM_TRUNCATE',
  'COM_CREATE_INDEX', 'COM_DROP_INDEX', 'COM_CREATE_DB', 'COM_DROP_DB'";

/// What follows `UNIX_TIMESTAMP()` are both counted from the second in which the question began.
fn question(mariadb: bool) -> String {
    let (from, log, transactions, written) = match mariadb {
        true => (
            "information_schema.GLOBAL_STATUS",
            "@@gtid_binlog_pos",
            "CAST(max(IF(VARIABLE_NAME = 'INNODB_MAX_TRX_ID', VARIABLE_VALUE, 0)) AS UNSIGNED)",
            "'HANDLER_WRITE', 'HANDLER_UPDATE', 'HANDLER_DELETE'",
        ),
        // There, temporary tables count as written, and so do many questions.
        false => (
            "performance_schema.global_status",
            "@@GLOBAL.gtid_executed",
            "0",
            "'COM_INSERT', 'COM_INSERT_SELECT', 'COM_UPDATE', 'COM_UPDATE_MULTI', 'COM_DELETE', 'COM_DELETE_MULTI',
             'COM_REPLACE', 'COM_REPLACE_SELECT', 'COM_LOAD'",
        ),
    };
    format!(
        "SELECT {transactions}, CAST(sum(IF(upper(VARIABLE_NAME) IN ({written}), VARIABLE_VALUE, 0)) AS UNSIGNED),
           CAST(sum(IF(upper(VARIABLE_NAME) IN ({DEFINING}), VARIABLE_VALUE, 0)) AS UNSIGNED), {log}, @@hostname, @@port,
           from_unixtime(UNIX_TIMESTAMP() - max(IF(upper(VARIABLE_NAME) = 'UPTIME', VARIABLE_VALUE + 0, 0)))
         FROM {from} WHERE VARIABLE_NAME IN ('INNODB_MAX_TRX_ID', 'UPTIME', {written}, {DEFINING})"
    )
}

/// # Errors
/// [`Error::NotPermitted`] on MySQL, where only an account with PROCESS sees the count of transactions.
pub(super) fn read(session: &mut Session) -> Result<Position, Error> {
    const DOING: &str = "read the position of";
    let row: Cells =
        session.rows_within(DOING, WAIT, &question(session.mariadb))?.into_iter().next().unwrap_or_default();
    let cell = |index: usize| row.get(index).cloned().flatten().unwrap_or_default();
    let transactions = match session.mariadb {
        true => cell(0),
        false => {
            let status = session.rows_within(DOING, WAIT, "SHOW ENGINE INNODB STATUS")?;
            let text = status.into_iter().next().and_then(|row| row.into_iter().nth(2)).flatten().unwrap_or_default();
            counted(&text).unwrap_or_default().to_owned()
        }
    };
    if transactions.is_empty() || transactions == "0" {
        let why = "is on a server that does not say how many transactions there were: is InnoDB on?".to_owned();
        return Err(Error::Unsuitable { database: session.address.database.clone(), why });
    }
    let log = if cell(3).is_empty() { String::new() } else { format!(", GTID {}", cell(3).replace('\n', "")) };
    Ok(Position::new(format!(
        "transaction {transactions}, {} rows written, {} definitions{log}, server {}:{} started {}",
        cell(1),
        cell(2),
        cell(4),
        cell(5),
        cell(6).split('.').next().unwrap_or_default()
    )))
}

/// `Trx id counter 2051`
fn counted(status: &str) -> Option<&str> {
    status.lines().find_map(|line| line.strip_prefix("Trx id counter ")).map(str::trim)
}

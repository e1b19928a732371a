//! S4's very lines are understood.

use super::*;
use crate::cli::table::Format;

fn read(line: &str) -> Result<Arguments, clap::Error> {
    Arguments::read(line.split_whitespace().map(OsString::from))
}

fn command(line: &str) -> Command {
    read(line).unwrap_or_else(|error| panic!("{line}: {error}")).command
}

const NAME: &str = "2ca4d90639f706283fee";

#[test]
fn the_documents_lines_are_read_as_they_stand() {
    assert!(matches!(command("platform snapshot:create"), Command::SnapshotCreate(_)));
    assert!(matches!(command("platform snapshots"), Command::Snapshots(_)));

    let Command::SnapshotRestore(plain) = command(&format!("platform snapshot:restore {NAME}")) else {
        panic!("another command")
    };
    assert_eq!(plain.id.as_ref().map(SnapshotName::as_str), Some(NAME));

    let line = format!("platform snapshot:restore --target=RESTORE_BRANCH {NAME}");
    let Command::SnapshotRestore(elsewhere) = command(&line) else { panic!("another command") };
    assert_eq!(elsewhere.target.as_deref(), Some("RESTORE_BRANCH"));

    let line = format!("platform snapshot:restore --branch-from=PARENT_BRANCH {NAME}");
    let Command::SnapshotRestore(new) = command(&line) else { panic!("another command") };
    assert_eq!((new.branch_from.as_deref(), new.target), (Some("PARENT_BRANCH"), None));
}

#[test]
fn the_cron_line_asks_nothing_and_does_not_wait() {
    let arguments = read("platform snapshot:create --yes --no-wait").expect("understood");
    assert_eq!(arguments.program, "platform");
    assert!(arguments.answer.yes);
    let Command::SnapshotCreate(create) = arguments.command else { panic!("another command") };
    assert!(create.wait.no_wait && !create.live);
}

#[test]
fn every_alias_leads_to_its_command() {
    for alias in ["snapshot:create", "backup:create", "backup"] {
        assert!(matches!(command(&format!("stillpoint {alias} -W")), Command::SnapshotCreate(_)), "{alias}");
    }
    for alias in ["snapshots", "snapshot:list", "backup:list", "backups"] {
        assert!(matches!(command(&format!("stillpoint {alias} -p demo -e .")), Command::Snapshots(_)), "{alias}");
    }
    assert!(matches!(command("stillpoint backup:restore -y"), Command::SnapshotRestore(_)));
    assert!(matches!(command("stillpoint act -i -a"), Command::ActivityList(_)));
    assert!(matches!(command("stillpoint backup:get -P size_used"), Command::BackupGet(_)));
    assert!(matches!(command("stillpoint activity:log --refresh 0 -t"), Command::ActivityLog(_)));
    assert!(matches!(command("stillpoint activity:cancel"), Command::ActivityCancel(_)));
    assert!(matches!(command("stillpoint environment:list -p demo"), Command::EnvironmentList(_)));
}

#[test]
fn a_dump_takes_the_flags_that_scripts_know() {
    let line = format!("platform db:dump -e main -f a.sql -d out -z -t --service shop --snapshot {NAME}");
    let Command::DbDump(dump) = command(&line) else { panic!("another command") };
    assert_eq!((dump.gzip, dump.timestamp, dump.stdout), (true, true, false));
    assert_eq!(dump.snapshot.as_ref().map(SnapshotName::as_str), Some(NAME));
    let Command::DbDump(dump) = command("stillpoint db:dump -o --table a --schema-only") else { panic!("another") };
    assert!(dump.stdout && dump.schema_only && dump.table == ["a"]);
    assert!(read("stillpoint db:dump -o -f a.sql").is_err(), "one or the other");
}

#[test]
fn lists_take_columns_types_and_a_format() {
    let line = "stillpoint activity:list -t environment.backup -t environment.restore -x a --state pending,in_progress \
                --limit 3 --format csv --columns +,type --no-header";
    let Command::ActivityList(list) = command(line) else { panic!("another command") };
    assert_eq!(list.kinds, ["environment.backup", "environment.restore"]);
    assert_eq!(list.state, [ActivityState::Pending, ActivityState::InProgress]);
    assert_eq!(list.list.columns, ["+", "type"]);
    assert_eq!((list.limit, list.list.format), (3, Format::Csv));
}

#[test]
fn what_is_not_understood_is_a_usage_error() {
    let lines = [
        "stillpoint",
        "stillpoint snapshot:restore ../../etc",
        "stillpoint snapshots -p a/b",
        "stillpoint snapshots --format xml",
        "stillpoint snapshot:create --wait --no-wait",
        "stillpoint snapshots -y -n",
        "stillpoint activity:list --state unheard-of",
        "stillpoint unheard:of",
    ];
    for line in lines {
        assert_eq!(read(line).map(|_| ()).map_err(|error| error.exit_code()), Err(2), "{line}");
    }
}

#[test]
fn help_and_version_are_answers() {
    let version = read("platform --version").expect_err("clap answers it");
    assert_eq!((version.exit_code(), version.use_stderr()), (0, false));
    let help = read("stillpoint help snapshot:create").expect_err("clap answers it").to_string();
    assert!(help.contains("Backup name:") && help.contains("--no-wait"), "{help}");
}

#[test]
fn a_tickets_acts_take_it_and_a_text() {
    use crate::cli::tickets::Command as OnTicket;
    let line =
        format!("stillpoint ticket:create -e main --target staging --only service:database --reason rehearsal {NAME}");
    let Command::Ticket(OnTicket::Create(create)) = command(&line) else { panic!("another command") };
    assert_eq!(
        (create.target.as_deref(), create.only.len(), create.reason.as_str()),
        (Some("staging"), 1, "rehearsal")
    );
    assert!(read(&format!("stillpoint ticket:create --target staging {NAME}")).is_err(), "a reason is needed");
    let Command::Ticket(OnTicket::Decline(decline)) = command(&format!("stillpoint ticket:decline {NAME} no")) else {
        panic!("another command")
    };
    assert_eq!((decline.which.id.as_str(), decline.text.as_deref()), (NAME, Some("no")));
    assert!(read("stillpoint ticket:list --all --state open").is_err());
}

//! Dumps and loads, and answers that are none.

use std::io::{self, Read};

use super::super::process::Process;
use super::super::stream::{load, pour};
use super::*;
use crate::drivers::Service as _;

const LONG: Duration = Duration::from_secs(60);

fn poured(script: &Script, still: Duration, cancelled: &dyn Fn() -> bool) -> Result<Vec<u8>, Error> {
    let mut out = Vec::new();
    let process = Process::start(&script.line(), &["dump", "view-1"])?;
    let written = pour(process, &mut out, still, cancelled)?;
    assert_eq!(written, out.len() as u64);
    Ok(out)
}

fn loaded(script: &Script, still: Duration, dump: &mut dyn Read) -> Result<(), Error> {
    load(Process::start(&script.line(), &["load", "new-1"])?, dump, still)
}

#[test]
fn a_dump_of_any_size_arrives_whole_and_one_that_breaks_off_is_none() {
    let dump = poured(&Script::new("head -c 5000000 /dev/zero; printf end"), LONG, &|| false).expect("it is whole");
    assert_eq!((dump.len(), dump.ends_with(b"end")), (5_000_003, true));
    assert!(poured(&Script::new(":"), LONG, &|| false).expect("nothing is a dump too").is_empty());
    let error = poured(&Script::new("head -c 300000 /dev/zero; echo 'the disk broke' >&2; exit 1"), LONG, &|| false);
    let told = error.expect_err("it broke off").to_string();
    assert!(told.contains("dump view-1` did not succeed") && told.contains("the disk broke"), "{told}");
}

#[test]
fn a_dump_that_stands_still_or_is_cancelled_is_killed_with_all_that_it_started() {
    let script = Script::new(r#"cd "$(dirname "$0")"; echo begun; sleep 600 & echo $! > part; mv part child; wait"#);
    let noted = script.directory.path().join("child");
    let error = poured(&script, Duration::from_secs(3), &|| false).expect_err("it stands still");
    assert!(matches!(error, Error::CommandTooSlow { .. }), "{error}");
    let first = fs::read_to_string(&noted).expect("it was started");
    fs::remove_file(&noted).expect("it is there");
    assert!(matches!(poured(&script, LONG, &|| noted.exists()), Err(Error::Cancelled)));
    let second = fs::read_to_string(&noted).expect("it was started");
    until("their end", || !is_alive(first.trim()) && !is_alive(second.trim()));
}

#[test]
fn a_load_gets_the_whole_dump_and_says_when_it_can_not_use_it() {
    let script = Script::new(r#"cat > "$(dirname "$0")/loaded"; echo "thank you""#);
    let dump: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    loaded(&script, LONG, &mut &dump[..]).expect("it is loaded");
    assert_eq!(fs::read(script.directory.path().join("loaded")).expect("a file"), dump);
    let refusing = Script::new("head -c 3 > /dev/null; echo 'this is no dump' >&2; exit 1");
    let told = loaded(&refusing, LONG, &mut &dump[..]).expect_err("it refuses").to_string();
    assert!(told.contains("load new-1` did not succeed") && told.contains("this is no dump"), "{told}");
    // It may know where a dump ends.
    loaded(&Script::new("head -c 3 > /dev/null"), LONG, &mut &dump[..]).expect("it has what it needs");
    let still = loaded(&Script::new("sleep 600"), Duration::from_secs(2), &mut &dump[..]);
    assert!(matches!(still, Err(Error::CommandTooSlow { .. })), "{still:?}");
}

#[test]
fn a_dump_that_can_not_be_read_is_never_an_end_to_its_load() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("the repository is away"))
        }
    }
    let script = Script::new(r#"cat > /dev/null; touch "$(dirname "$0")/loaded""#);
    let half = io::repeat(1).take(1_000_000);
    let error = loaded(&script, LONG, &mut half.chain(Broken)).expect_err("half a dump is none");
    assert!(matches!(error, Error::Input(_)), "{error}");
    assert!(!script.directory.path().join("loaded").exists(), "it was killed before it could take that for the end");
}

#[test]
fn an_answer_that_is_none_is_told_with_its_command() {
    for (text, why) in [
        ("echo '{}'", "missing field `version`"),
        ("echo nothing", "expected"),
        ("[ $1 = test ] && echo '{\"version\": \"1\"}'; exit 0", "a position is needed"),
        ("[ $1 = test ] && echo '{\"version\": \"1\"}' || printf 'a\\nb\\n'", "a position is one line"),
    ] {
        let script = Script::new(text);
        let told = Named::new(script.line()).test().expect_err("it is no answer").to_string();
        assert!(told.contains("hook ") && told.contains(why), "{told}");
    }
}

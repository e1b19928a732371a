//! Streams of unknown length.

use super::*;

fn read(sandbox: &Sandbox, id: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let length = sandbox.repository.read_stream(&Job::reading(), id, &database(), &mut out).expect("a stream");
    assert_eq!(length, out.len() as u64);
    out
}

/// A dump as databases write it.
fn rows(length: usize) -> Vec<u8> {
    let mut dump = Vec::with_capacity(length + 200);
    for number in 0_u64.. {
        if dump.len() >= length {
            break;
        }
        let price = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 50;
        let text = "INSERT INTO orders (id, customer, street, price, currency, note) VALUES";
        dump.extend(
            format!("{text} ({number}, 'Mr Smith', 'Baker Street 221b', {price}, 'EUR', 'to the door');\n").bytes(),
        );
    }
    dump
}

#[test]
fn an_empty_stream_comes_back_empty() {
    let sandbox = Sandbox::new();
    let archived = sandbox.archive(&job(), None, TreeChanges::default(), vec![stream(*b"")]).expect("a snapshot");
    assert!(read(&sandbox, &archived.id).is_empty());
    let out = sandbox.path("out");
    sandbox.restic(&["restore", &archived.id, "--target", out.to_str().expect("UTF-8")]);
    let segment = fs::metadata(out.join("services/database/000000")).expect("one segment");
    assert_eq!(segment.len(), 0);
}

#[test]
fn a_large_stream_comes_back_and_an_insertion_at_its_front_adds_little() {
    let sandbox = Sandbox::new();
    let dump = rows(100 << 20);
    let first = sandbox.archive(&job(), None, TreeChanges::default(), vec![stream(dump.clone())]).expect("a snapshot");
    assert!(read(&sandbox, &first.id) == dump);
    let longer = [noise(1024, 22), dump].concat();
    let second =
        sandbox.archive(&job(), None, TreeChanges::default(), vec![stream(longer.clone())]).expect("a snapshot");
    assert!(read(&sandbox, &second.id) == longer);
    // The chunk that changed has up to 8 MiB, but text shrinks to a tenth.
    assert!(first.added.0 > 4 << 20, "{first:?}");
    assert!(second.added.0 < 1 << 20, "{second:?}");
    assert_eq!(second.size.0, longer.len() as u64 + MANIFEST_TEXT.len() as u64);
}

#[test]
fn streams_of_several_services_are_kept_apart() {
    let sandbox = Sandbox::new();
    let names = ["zebra", "cache", "database"].map(|name| ServiceName::parse(name).expect("a name"));
    let streams = names.iter().map(|name| Stream {
        name: name.clone(),
        reader: Box::new(Cursor::new(name.as_str().repeat(1000).into_bytes())),
    });
    let archived = sandbox.archive(&job(), None, TreeChanges::default(), streams.collect()).expect("a snapshot");
    for name in &names {
        let mut out = Vec::new();
        sandbox.repository.read_stream(&Job::reading(), &archived.id, name, &mut out).expect("a stream");
        assert_eq!(out, name.as_str().repeat(1000).into_bytes());
    }
    let unknown = ServiceName::parse("search").expect("a name");
    let error = sandbox.repository.read_stream(&Job::reading(), &archived.id, &unknown, &mut Vec::new());
    assert!(matches!(error, Err(Error::UnknownService { .. })), "{error:?}");
    sandbox.restic(&["check", "--read-data"]);
}

#[test]
fn progress_counts_the_bytes_of_a_stream() {
    let sandbox = Sandbox::new();
    let job = job();
    job.expect_bytes(3 << 20);
    sandbox.archive(&job, None, TreeChanges::default(), vec![stream(noise(3 << 20, 1))]).expect("a snapshot");
    assert_eq!((job.bytes_done(), job.bytes_total()), (3 << 20, 3 << 20));
}

#[test]
fn an_output_that_breaks_is_not_taken_for_damage() {
    struct Full;
    impl io::Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let sandbox = Sandbox::new();
    let archived = sandbox.archive(&job(), None, TreeChanges::default(), vec![stream(*b"dump")]).expect("a snapshot");
    let error = sandbox.repository.read_stream(&Job::reading(), &archived.id, &database(), &mut Full);
    assert!(matches!(error, Err(Error::Output { .. })), "{error:?}");
}

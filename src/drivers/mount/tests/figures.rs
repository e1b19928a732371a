use std::sync::Mutex;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Instant;

use super::disks::Disk;
use super::*;

/// Of 100 files each. Decision 31 was measured with 1,000.
const DIRECTORIES: usize = 100;

/// How long the mounts' share of a hold takes with many files, a visitor who writes every 2 ms, and a large file that
/// grows with each visit: with clones and without, shortest first. For reading, not a bound: the machine is busy.
fn holds(disk: &Disk, tries: usize) -> [Vec<Duration>; 2] {
    let site = disk.site();
    for number in 0..DIRECTORIES {
        let directory = site.path().join(format!("d{number:04}"));
        fs::create_dir(&directory).expect("a directory");
        for file in 0..100 {
            fs::write(directory.join(format!("f{file:03}")), vec![7; 2000]).expect("a file");
        }
    }
    site.file("large", vec![1; 64 << 20]);
    let mount = site.mount();
    let (gate, path) = (Mutex::new(()), site.path());
    let (stop, stopped) = mpsc::channel::<()>();
    let (gate, path) = (&gate, &path);
    let mut held = std::thread::scope(|scope| {
        scope.spawn(move || {
            for number in 0.. {
                let visit = gate.lock();
                let name = format!("d{:04}/f{:03}", number % DIRECTORIES, number % 100);
                fs::write(path.join(name), vec![9; 20_000]).expect("a file");
                let mut large = File::options().append(true).open(path.join("large")).expect("a file");
                std::io::Write::write_all(&mut large, &[2; 1000]).expect("it grows");
                drop(visit);
                if stopped.recv_timeout(Duration::from_millis(2)) != Err(RecvTimeoutError::Timeout) {
                    break;
                }
            }
        });
        let once = |number: usize, cloning: bool| {
            let mut index = mount.follow().expect("an index");
            index.clones = index.clones.filter(|_| cloning);
            let [ahead, staging] = ["ahead", "staging"].map(|name| {
                let directory = disk.elsewhere().join(format!("{name}-{number}-{cloning}"));
                fs::create_dir(&directory).expect("a directory");
                directory
            });
            for _ in 0..4 {
                if index.record_ahead(&ahead).expect("recorded") <= 20 {
                    break;
                }
            }
            let visits = gate.lock();
            let started = Instant::now();
            let scan = index.changes(&staging, LIMITS).expect("a scan");
            assert!(index.moved_since(&scan).expect("a look").is_empty());
            let held = started.elapsed();
            drop(visits);
            assert!(scan.by_journal() && scan.changes.overrides.contains_key(Path::new("large")));
            held
        };
        let held = [true, false].map(|cloning| (0..tries).map(|number| once(number, cloning)).collect::<Vec<_>>());
        drop(stop);
        held
    });
    held.iter_mut().for_each(|held| held.sort());
    held
}

fn a_hold_is_short(test: &str, kind: &str) {
    let Some(disk) = Disk::new(&format!("figures::{test}"), kind, 1024) else { return };
    let [cloning, copying] = holds(&disk, 7);
    let said = |held: &[Duration]| format!("p50 {:?}, max {:?}", held[held.len() / 2], held[held.len() - 1]);
    println!(
        "{kind}: {DIRECTORIES}00 files, a writer, 64 MiB that grow: {}; copied: {}",
        said(&cloning),
        said(&copying)
    );
    assert!(cloning[cloning.len() / 2] < Duration::from_secs(2), "{cloning:?}");
}

#[test]
fn a_hold_on_btrfs_is_short_whatever_the_size() {
    a_hold_is_short("a_hold_on_btrfs_is_short_whatever_the_size", "btrfs");
}

#[test]
fn a_hold_on_xfs_is_short_whatever_the_size() {
    a_hold_is_short("a_hold_on_xfs_is_short_whatever_the_size", "xfs");
}

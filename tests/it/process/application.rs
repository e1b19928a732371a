//! What the applications of all tests share that write each request's number to some service and to a file, and what is
//! done with each kind of service.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::{Installation, said, until};

/// An environment `main` with one service and the mount `uploads`, which holds a file `number`.
pub trait Counting {
    /// In the service, where none may be missing before it, and in the file.
    fn numbers(&self) -> (i64, i64);

    /// How many databases stand on the server for a restore, or were left there by one.
    fn left_beside(&self) -> usize;
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Turns {
    /// One request after the other.
    One,
    /// Each on a thread of its own.
    All,
}

/// Answers requests at the port that is given.
pub fn serve(turns: Turns, answer: impl Fn() -> Result<String, String> + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = Arc::clone(&answer);
            // Who has gone meanwhile gets no answer.
            let request = move || drop(reply(stream, &*answer));
            if turns == Turns::All {
                std::thread::spawn(request);
            } else {
                request();
            }
        }
    });
    port
}

fn reply(mut stream: TcpStream, answer: &dyn Fn() -> Result<String, String>) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte)? > 0 {
        head.push(byte[0]);
    }
    let (status, text) = match answer() {
        Ok(text) => ("200 OK", text),
        Err(error) => ("500 Broken", error),
    };
    let length = text.len();
    write!(stream, "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{text}")
}

/// A snapshot, and what it holds.
pub struct Kept {
    pub name: String,
    pub number: i64,
}

impl Installation {
    /// A snapshot and a restore while visitors come, who are not turned away; the same restore again, and the first one
    /// undone. `secret` stands in no answer.
    #[track_caller]
    pub fn there_and_back(&self, secret: &str, shop: &dyn Counting) -> Kept {
        let agree = |when: &str| {
            let (in_service, in_file) = shop.numbers();
            assert_eq!(in_service, in_file, "one instant: {when}");
            in_service
        };
        let visitor = self.visitor();
        until("visitors come", || (visitor.so_far().served > 20).then_some(()));
        let name = self.snapshot();
        let taken = self.backup(&name);
        until("more orders", || (visitor.so_far().served > 60).then_some(()));
        let visits = visitor.leave();
        assert_eq!((visits.broken, visits.asked_to_return), (0, 0), "a snapshot turns nobody away");
        assert!(!taken.to_string().contains(secret));
        let before = agree("before");

        let visitor = self.visitor();
        let activity = self.succeeded(&self.ask_restore(&name));
        let visits = visitor.leave();
        assert_eq!((visits.broken, visits.asked_to_return), (0, 0), "nor does a restore");
        agree("restored under visitors");
        let safety = activity["payload"]["safety_backup_name"].as_str().expect("a name").to_owned();
        self.restore(&name);
        let number = agree("restored");
        assert!(number < before, "{number} {before}");

        // Undo of the first restore.
        self.restore(&safety);
        let undone = agree("undone");
        assert!(undone >= before, "{undone} {before}");
        self.assert_no_leftovers();
        until("nothing is left beside", || (shop.left_beside() == 0).then_some(()));
        Kept { name, number }
    }

    /// The worker dies at that step of a restore, when so many databases stand beside; the next one finishes it.
    #[track_caller]
    pub fn restore_dies(&self, step: &str, beside: usize, shop: &dyn Counting) {
        let dying = self.start_with(&[("STILLPOINT_CRASH_AT", step)]);
        assert_eq!(self.visit().expect("the gateway").body, "1");
        let first = self.snapshot();
        assert_eq!(self.visit().expect("the gateway").body, "2");
        let asked = self.ask_confirmed(&first);
        dying.died();
        assert_eq!(shop.left_beside(), beside, "{step}");

        let server = self.start();
        let activity = self.succeeded(&asked);
        assert_eq!(shop.numbers(), (1, 1), "{step}");
        let safety = activity["payload"]["safety_backup_name"].as_str().expect("a name");
        let undo = self.ask_confirmed(safety);
        self.succeeded(&undo);
        assert_eq!(shop.numbers(), (2, 2), "{step}");
        self.assert_no_leftovers();
        until("nothing is left beside", || (shop.left_beside() == 0).then_some(()));
        server.terminate();
    }

    /// What stock restic alone gets out of a snapshot: the directory, and the manifest in it.
    #[track_caller]
    pub fn by_restic(&self, kept: &Kept) -> (PathBuf, String) {
        let back = self.directory().join("back");
        let to = back.to_str().expect("UTF-8");
        let done = self.restic(&self.recovery_key(), &["restore", "latest", "--tag", &kept.name, "--target", to]);
        assert!(done.status.success(), "{}", said(&done));
        let in_file = std::fs::read_to_string(back.join("mounts/uploads/number")).expect("a number");
        assert_eq!(in_file, kept.number.to_string());
        let manifest = std::fs::read_to_string(back.join("manifest.json")).expect("a manifest");
        assert!(manifest.contains("\"consistency\": \"consistent\""), "{manifest}");
        (back, manifest)
    }
}

//! What a server of our own says while it runs.

use std::io::{self, Read as _};
use std::process::Child;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

/// Bytes that are kept, the last ones.
const WORDS: usize = 8_000;

/// What the program says, read as it comes so that it never waits for us.
pub(super) struct Said {
    words: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

impl Said {
    pub fn listen(child: &mut Child) -> io::Result<Self> {
        let mut stdout = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let words = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&words);
        let listening = move || {
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = stdout.read(&mut buffer) {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                kept.extend_from_slice(&buffer[..read]);
                let surplus = kept.len().saturating_sub(WORDS);
                kept.drain(..surplus);
            }
        };
        let reader = thread::Builder::new().name("redis-server".to_owned()).spawn(listening)?;
        Ok(Self { words, reader })
    }

    pub fn ended(&self) -> bool {
        self.reader.is_finished()
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.words.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }

    /// Its warnings; without any, its last line.
    pub fn words(&self) -> String {
        let text = self.text();
        let said = |line: &str| line.split_once(" # ").map(|(_, words)| words.trim().to_owned());
        let about_the_machine = |line: &String| line.contains("overcommit_memory") || line.starts_with("oO0OoO0OoO0Oo");
        let warnings: Vec<String> = text.lines().filter_map(said).filter(|line| !about_the_machine(line)).collect();
        let last = warnings.iter().rev().take(3).rev().cloned().collect::<Vec<_>>().join("; ");
        if last.is_empty() { text.lines().last().unwrap_or("it said nothing").trim().to_owned() } else { last }
    }

    /// That the live server does not let it attach.
    pub fn refusal(&self) -> Option<String> {
        let words = self.text();
        let refused = ["Unable to AUTH to MASTER", "NOPERM", "NOAUTH", "WRONGPASS"];
        let line = words.lines().rev().find(|line| refused.iter().any(|sign| line.contains(sign)))?;
        Some(line.split_once(" # ").or(line.split_once(" * ")).map_or(line, |(_, words)| words).trim().to_owned())
    }
}

//! The server.

use std::process::ExitCode;

use clap::Parser as _;
use stillpoint::boot::{self, Command};

fn main() -> ExitCode {
    give_memory_back();
    run()
}

#[tokio::main]
async fn run() -> ExitCode {
    match boot::run(Command::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("stillpointd: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whatever is as large as this goes back to the system when it is freed, a password's hash (19 MiB) is; and what is free
/// at the end of a heap does, once it is as much. By itself glibc raises both to the largest that it ever saw freed, and
/// keeps such memory for each thread. Much smaller they cost more than they give: a snapshot makes an encoder of more
/// than a mebibyte for each small file, and took twice as long when each went back. Bytes.
const LARGE: i32 = 16 << 20;

fn give_memory_back() {
    #[cfg(target_env = "gnu")]
    #[expect(unsafe_code, reason = "the C library has no other way to be told")]
    // SAFETY: both set a number, under a lock of the allocator's own.
    unsafe {
        // What it can't set stays as it was.
        let _ = libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
        let _ = libc::mallopt(libc::M_TRIM_THRESHOLD, LARGE);
    }
}

//! The server.

use std::process::ExitCode;

use clap::Parser as _;
use stillpoint::boot::{self, Command};

#[tokio::main]
async fn main() -> ExitCode {
    match boot::run(Command::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("stillpointd: {error:#}");
            ExitCode::FAILURE
        }
    }
}

//! What a newcomer reads on the terminal.

use std::net::SocketAddr;

use anyhow::Result;

use super::config::Options;
use super::samples::Sample;
use crate::ops::{App, accounts};

/// Addresses, and how to log in.
///
/// # Errors
/// When the store fails.
pub async fn print(
    app: &App,
    console: SocketAddr,
    gateway: SocketAddr,
    options: &Options,
    sample: Option<&Sample>,
) -> Result<()> {
    let url = address(console, options);
    println!("\n  Stillpoint is ready.\n");
    println!("  Console   {url}");
    println!("  Gateway   http://{gateway}");
    if let Some(sample) = sample {
        let login = &sample.login;
        let port = gateway.port();
        println!("\n  Log in    {}", login.admin);
        println!("            {}  (only looks)", login.viewer);
        println!("            {}  (works restore tickets)", login.support);
        println!("  Password  {}", login.password.reveal());
        println!("\n  The demo  http://main.demo.localhost:{port}/");
        println!("\n  On the command line:");
        println!("    export STILLPOINT_URL={url} STILLPOINT_TOKEN={}", login.token.reveal());
        println!("    export STILLPOINT_PROJECT=demo STILLPOINT_BRANCH=main");
        println!("    stillpoint snapshot:create");
    } else {
        first_account(app, &url).await?;
    }
    println!();
    Ok(())
}

/// What a process that is the console alone prints.
///
/// # Errors
/// When the store fails.
pub async fn print_console(app: &App, console: SocketAddr, options: &Options) -> Result<()> {
    println!("Console and API at http://{console}");
    first_account(app, &address(console, options)).await
}

/// The link that makes it, as long as there is none.
async fn first_account(app: &App, url: &str) -> Result<()> {
    if let Some(code) = accounts::setup_code(app).await? {
        println!("\n  Make the first account at  {url}/setup?code={code}");
    }
    Ok(())
}

pub(super) fn address(console: SocketAddr, options: &Options) -> String {
    options.public_url.clone().unwrap_or_else(|| format!("http://{console}"))
}

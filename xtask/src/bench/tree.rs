//! Snapshots and restores of a real tree, cargo's registry of sources, against Debian's restic on the same copy.
//!
//! Ours is the whole product: from the request to the API to the end of its activity, with index, hold, catalogue and,
//! for a restore, swap and safety snapshot; removing the replaced tree comes after that end. The peer is one `restic` command. Both start with the tree in the page cache
//! and nothing left to be written.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::server::Server;
use super::statistics::{listed, median};
use super::{Bed, Figures};

const ROUNDS: usize = 5;
/// A smaller tree would measure how programs start.
const FEWEST: usize = 10_000;
/// How long removing what a restore replaced may take.
const LONGEST: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(100);
/// One file in so many is changed.
const CHANGED: usize = 100;

const ACCOUNT: &str = "bench@localhost";
const PASSWORD: &str = "only for a measurement";
const AT: (&str, &str) = ("bench", "main");

pub fn measure(bed: &Bed) -> Result<Figures> {
    let directory = bed.directory()?;
    let place = directory.path();
    let tree = place.join("tree");
    copy(&registry()?, &tree)?;
    let files = files(&tree)?;
    if files.len() < FEWEST {
        bail!("{} holds {} files only: build the project once, which unpacks them", tree.display(), files.len());
    }

    let mut all = Samples::default();
    for round in 0..ROUNDS {
        let ours = Ours::create(bed, &place.join(format!("ours-{round}")), &tree)?;
        let restic = Restic::create(place, round)?;
        let contest = Contest { ours: &ours, restic: &restic, tree: &tree, ours_first: round % 2 == 0 };
        ours.server.forget_peak()?;
        contest.snapshot(&mut all.first)?;
        contest.snapshot(&mut all.unchanged)?;
        for file in files.iter().skip(round).step_by(CHANGED) {
            OpenOptions::new().append(true).open(file)?.write_all(format!("// round {round}\n").as_bytes())?;
        }
        let backup = contest.snapshot(&mut all.changed)?;
        all.snapshot_peak = all.snapshot_peak.max(ours.server.peak()?);
        ours.server.forget_peak()?;
        contest.restore(&mut all.restore, &backup)?;
        all.restore_peak = all.restore_peak.max(ours.server.peak()?);
    }
    for (name, pair) in
        [("first", &all.first), ("unchanged", &all.unchanged), ("changed", &all.changed), ("restore", &all.restore)]
    {
        eprintln!("   {name}: ours {} s, restic {} s", listed(&pair.ours), listed(&pair.restic));
    }
    Ok(vec![
        ("snapshot.first_vs_restic", all.first.ratio()),
        ("snapshot.unchanged_vs_restic", all.unchanged.ratio()),
        ("snapshot.changed_vs_restic", all.changed.ratio()),
        ("restore.vs_restic", all.restore.ratio()),
        ("snapshot.peak_mb", all.snapshot_peak),
        ("restore.peak_mb", all.restore_peak),
    ])
}

#[derive(Default)]
struct Samples {
    first: Pair,
    unchanged: Pair,
    changed: Pair,
    restore: Pair,
    snapshot_peak: f64,
    restore_peak: f64,
}

/// Seconds, a sample a round.
#[derive(Default)]
struct Pair {
    ours: Vec<f64>,
    restic: Vec<f64>,
}

impl Pair {
    fn ratio(&self) -> f64 {
        median(&self.ours) / median(&self.restic)
    }
}

struct Contest<'a> {
    ours: &'a Ours,
    restic: &'a Restic,
    tree: &'a Path,
    ours_first: bool,
}

impl Contest<'_> {
    /// Gives our snapshot's name.
    fn snapshot(&self, pair: &mut Pair) -> Result<String> {
        self.each(
            pair,
            || {
                let done = self.ours.server.snapshot(AT)?;
                Ok((done.seconds, done.backup))
            },
            || self.restic.run(&["backup", "--quiet"], self.tree),
        )
    }

    /// Restic always first: ours ends with removing the tree that it replaced, and for a while after many files were
    /// removed ext4 is slow to create others.
    fn restore(&self, pair: &mut Pair, backup: &str) -> Result<()> {
        self.settle()?;
        pair.restic.push(self.restic.run(&["restore", "latest", "--quiet", "--target"], &self.restic.restored)?);
        self.settle()?;
        pair.ours.push(self.ours.server.restore(AT, backup)?.seconds);
        self.ours.settle(self.tree)?;
        // Neither was fast by leaving something out.
        let theirs = self.restic.restored.join(self.tree.strip_prefix("/")?);
        let compared = Command::new("diff").args(["-rq", "--no-dereference"]).arg(self.tree).arg(theirs).status()?;
        if !compared.success() {
            bail!("the two restored trees differ");
        }
        Ok(())
    }

    fn each<T>(
        &self,
        pair: &mut Pair,
        ours: impl FnOnce() -> Result<(f64, T)>,
        restic: impl FnOnce() -> Result<f64>,
    ) -> Result<T> {
        if self.ours_first {
            self.settle()?;
            let (seconds, made) = ours()?;
            pair.ours.push(seconds);
            self.settle()?;
            pair.restic.push(restic()?);
            return Ok(made);
        }
        self.settle()?;
        pair.restic.push(restic()?);
        self.settle()?;
        let (seconds, made) = ours()?;
        pair.ours.push(seconds);
        Ok(made)
    }

    /// The tree is read once, and what earlier runs wrote is on disk.
    fn settle(&self) -> Result<()> {
        let mut command = Command::new("tar");
        command.arg("-cf").arg("-").arg(self.tree).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut reading = command.spawn()?;
        let mut output = reading.stdout.take().context("its output is piped")?;
        std::io::copy(&mut output, &mut std::io::sink())?;
        reading.wait()?;
        Command::new("sync").status()?;
        Ok(())
    }
}

/// A fresh installation with one environment, whose one mount is the tree.
struct Ours {
    server: Server,
}

impl Ours {
    fn create(bed: &Bed, data: &Path, tree: &Path) -> Result<Self> {
        let server = Server::start(&bed.server, data, &[])?;
        server.admin(&["admin", "user", "add", ACCOUNT, "--password-stdin", "--operator"], PASSWORD)?;
        let (project, environment) = AT;
        let declaration = data.join("bench.toml");
        let text = format!(
            "[[project]]\nid = \"{project}\"\nplan = \"self-hosted\"\n\n\
             [[project.member]]\nemail = \"{ACCOUNT}\"\nrole = \"admin\"\n\n\
             [[project.environment]]\nname = \"{environment}\"\ntype = \"development\"\n\n\
             [[project.environment.mount]]\nname = \"files\"\npath = {tree:?}\n"
        );
        fs::write(&declaration, text)?;
        server.admin(&["apply", declaration.to_str().context("cargo's target directory is UTF-8")?], "")?;
        server.log_in(ACCOUNT)?;
        Ok(Self { server })
    }
}

impl Ours {
    /// Waits until what a restore replaced is removed, which goes on after its activity.
    fn settle(&self, tree: &Path) -> Result<()> {
        let beside = tree.parent().context("the tree lies in a directory")?.join(".stillpoint");
        let since = Instant::now();
        while beside.exists() {
            if since.elapsed() > LONGEST {
                bail!("{} is still there", beside.display());
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }
}

struct Restic {
    repository: PathBuf,
    cache: PathBuf,
    restored: PathBuf,
}

impl Restic {
    fn create(place: &Path, round: usize) -> Result<Self> {
        let restic = Self {
            repository: place.join(format!("restic-{round}")),
            cache: place.join(format!("restic-cache-{round}")),
            restored: place.join(format!("restic-restored-{round}")),
        };
        restic.run(&["init", "--quiet", "--repo"], &restic.repository)?;
        Ok(restic)
    }

    /// Gives its wall time in seconds.
    fn run(&self, arguments: &[&str], last: &Path) -> Result<f64> {
        let mut command = Command::new("restic");
        command.args(arguments).arg(last).env("RESTIC_REPOSITORY", &self.repository);
        command.env("RESTIC_PASSWORD", PASSWORD).env("RESTIC_CACHE_DIR", &self.cache);
        let start = Instant::now();
        let status = command.status().context("could not start restic: install the package of that name")?;
        let seconds = start.elapsed().as_secs_f64();
        if !status.success() {
            bail!("restic {} failed; its reason stands above", arguments[0]);
        }
        Ok(seconds)
    }
}

/// Where cargo unpacks the sources of all dependencies.
fn registry() -> Result<PathBuf> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    let sources = home.context("neither CARGO_HOME nor HOME is set")?.join("registry/src");
    if !sources.is_dir() {
        bail!("{} is not there: it appears when cargo builds the project", sources.display());
    }
    Ok(sources)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status()?;
    if !status.success() {
        bail!("{} could not be copied", from.display());
    }
    Ok(())
}

/// Regular files below a directory, in an order that is the same each time.
fn files(root: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                directories.push(entry.path());
            } else if kind.is_file() {
                files.push(entry.path());
            }
        }
    }
    files.sort_unstable();
    Ok(files)
}

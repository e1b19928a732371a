//! A Solr server on a free port, with its cores in a temporary directory: where `SOLR_HOME` names the directory that Solr was
//! unpacked into. The registries that tests install from have none.
#![allow(dead_code, reason = "the driver's tests and the suite each use a part of it")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// Java takes its time to start.
const PATIENCE: Duration = Duration::from_secs(180);

/// Ends with the process, or when it is killed or dropped.
pub struct Server {
    pub port: u16,
    words: Vec<String>,
    home: tempfile::TempDir,
    installed: PathBuf,
    server: Child,
}

/// Where Solr was unpacked; says so when it was not.
pub fn installed() -> Option<PathBuf> {
    let found = std::env::var_os("SOLR_HOME").map(PathBuf::from).filter(|home| home.join("bin/solr").is_file());
    if found.is_none() {
        eprintln!("NOT RUN: SOLR_HOME names no directory with bin/solr");
    }
    found
}

impl Server {
    /// `None`: there is none to start.
    pub fn start() -> Option<Self> {
        Self::with(Vec::new())
    }

    /// A cluster of one node, which runs its own ZooKeeper.
    pub fn cloud() -> Option<Self> {
        Self::with(vec!["-c".to_owned()])
    }

    /// Another node of this one's cluster.
    pub fn joined(&self) -> Self {
        // Where a node with a ZooKeeper of its own has it.
        let keeper = format!("127.0.0.1:{}", self.port + 1_000);
        Self::with(["-c", "-z", &keeper].map(str::to_owned).to_vec()).expect("it is installed, for one runs")
    }

    fn with(words: Vec<String>) -> Option<Self> {
        let installed = installed()?;
        let home = tempfile::tempdir().expect("a temporary directory");
        fs::create_dir(home.path().join("cores")).expect("a directory");
        for file in ["solr.xml", "zoo.cfg"] {
            let from = installed.join("server/solr").join(file);
            fs::copy(from, home.path().join("cores").join(file)).expect("a file that Solr comes with");
        }
        let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
        let port = port.expect("a free port").port();
        let server = start(&installed, home.path(), port, &words);
        let new = Self { port, words, home, installed, server };
        new.ready();
        Some(new)
    }

    /// On the same port and directory, after it was killed.
    pub fn again(&mut self) {
        self.server = start(&self.installed, self.home.path(), self.port, &self.words);
        self.ready();
    }

    /// As [`Self::again`], where some cores may never answer.
    pub fn begin_again(&mut self) {
        self.server = start(&self.installed, self.home.path(), self.port, &self.words);
        let deadline = Instant::now() + PATIENCE;
        while self.ask("admin/info/system").is_err() {
            assert!(Instant::now() < deadline, "Solr did not come up within {PATIENCE:?}");
            thread::yield_now();
        }
    }

    /// As a power cut would.
    pub fn kill(&mut self) {
        self.server.kill().expect("it runs");
        self.server.wait().expect("it is ours");
    }

    fn ready(&self) {
        let deadline = Instant::now() + PATIENCE;
        while self.ask("admin/info/system").is_err() || !self.is_loaded() {
            assert!(Instant::now() < deadline, "Solr did not come up within {PATIENCE:?}");
            thread::yield_now();
        }
    }

    /// Every core that stands on disk answers: the server loads them after it began to answer itself.
    fn is_loaded(&self) -> bool {
        let directories = fs::read_dir(self.cores()).expect("the cores").flatten();
        let texts = directories.filter_map(|entry| fs::read_to_string(entry.path().join("core.properties")).ok());
        let names: Vec<String> = texts
            .filter_map(|text| text.lines().find_map(|line| line.strip_prefix("name=").map(str::to_owned)))
            .collect();
        names.iter().all(|name| self.ask(&format!("{name}/select?q=*:*&rows=0")).is_ok())
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/solr", self.port)
    }

    /// The directory of the cores.
    pub fn cores(&self) -> PathBuf {
        self.home.path().join("cores")
    }

    /// Makes a core with the configuration that Solr comes with, as `bin/solr create` does.
    pub fn core(&self, name: &str) {
        let conf = self.cores().join(name).join("conf");
        copy(&self.installed.join("server/solr/configsets/_default/conf"), &conf);
        self.ok(&format!("admin/cores?action=CREATE&name={name}&instanceDir={name}"));
    }

    /// Names of the cores that there are.
    pub fn names(&self) -> Vec<String> {
        let status = self.ok("admin/cores?action=STATUS&indexInfo=false");
        status["status"].as_object().expect("cores").keys().cloned().collect()
    }

    /// Adds documents with these ids, searchable at once.
    pub fn add(&self, core: &str, ids: std::ops::Range<u32>) {
        self.send(core, &ids, "commit=true");
    }

    /// Adds documents that no commit holds yet.
    pub fn add_pending(&self, core: &str, ids: std::ops::Range<u32>) {
        self.send(core, &ids, "commit=false");
    }

    fn send(&self, core: &str, ids: &std::ops::Range<u32>, how: &str) {
        let documents: Vec<Value> = ids
            .clone()
            .map(|id| serde_json::json!({"id": id.to_string(), "title_s": format!("number {id}")}))
            .collect();
        let url = format!("{}/{core}/update?{how}", self.url());
        ureq::post(&url).send_json(documents).expect("documents are taken");
    }

    pub fn delete(&self, core: &str, query: &str) {
        let url = format!("{}/{core}/update?commit=true", self.url());
        ureq::post(&url).send_json(serde_json::json!({"delete": {"query": query}})).expect("deleted");
    }

    /// A command of the schema's interface.
    pub fn schema(&self, index: &str, command: Value) {
        ureq::post(&format!("{}/{index}/schema", self.url())).send_json(command).expect("the schema is changed");
    }

    /// How many documents a search finds.
    pub fn found(&self, core: &str) -> u64 {
        let answer = self.ok(&format!("{core}/select?q=*:*&rows=0"));
        answer["response"]["numFound"].as_u64().expect("a number")
    }

    /// An answer that is no refusal.
    pub fn ok(&self, path: &str) -> Value {
        self.ask(path).unwrap_or_else(|refused| panic!("{path}: {refused}"))
    }

    fn ask(&self, path: &str) -> Result<Value, String> {
        let and = if path.contains('?') { '&' } else { '?' };
        let request = ureq::get(&format!("{}/{path}{and}wt=json&json.nl=map", self.url()));
        let reply = request.config().http_status_as_error(false).build().call();
        let mut reply = reply.map_err(|error| error.to_string())?;
        let text = reply.body_mut().read_to_string().map_err(|error| error.to_string())?;
        let value: Value = serde_json::from_str(&text).map_err(|_| text.clone())?;
        if value["error"].is_null() { Ok(value) } else { Err(value["error"]["msg"].to_string()) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// What a server on that port answers, when it does.
pub fn asked(port: u16, path: &str) -> Option<String> {
    let mut reply = ureq::get(&format!("http://127.0.0.1:{port}/solr/{path}")).call().ok()?;
    reply.body_mut().read_to_string().ok()
}

type Shared = std::sync::OnceLock<Option<&'static Server>>;

/// One for all tests of the process: each has cores of its own on it.
pub fn shared() -> Option<&'static Server> {
    static SHARED: Shared = Shared::new();
    kept(&SHARED, Server::start)
}

/// As [`shared`], a cluster of one node: each test has collections of its own on it.
pub fn shared_cloud() -> Option<&'static Server> {
    static SHARED: Shared = Shared::new();
    kept(&SHARED, Server::cloud)
}

fn kept(shared: &'static Shared, start: fn() -> Option<Server>) -> Option<&'static Server> {
    *shared.get_or_init(|| {
        let (sender, receiver) = mpsc::channel();
        // The server ends with the thread that started it: this one ends with the process.
        thread::spawn(move || {
            let server: Option<&'static Server> = start().map(|server| &*Box::leak(Box::new(server)));
            let is_there = server.is_some();
            let _ = sender.send(server);
            if is_there {
                loop {
                    thread::park();
                }
            }
        });
        receiver.recv().expect("it was started, or is not there")
    })
}

fn start(installed: &Path, home: &Path, port: u16, more: &[String]) -> Child {
    // The kernel ends it with the thread that started it; `bin/solr` becomes the server's own process.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(installed.join("bin/solr")).arg("start");
    let newest = fs::read_dir(installed.join("server/solr-webapp/webapp/WEB-INF/lib")).expect("Solr's libraries");
    let is_ten = newest.flatten().any(|jar| jar.file_name().to_string_lossy().starts_with("solr-core-10"));
    let words = if is_ten { ["--force", "--solr-home"] } else { ["-force", "-s"] };
    command.args(words).arg(home.join("cores")).args(["-f", "-p", &port.to_string()]);
    match (is_ten, more) {
        // From 10 on a cluster is what it is without a word.
        (true, [first, more @ ..]) if first == "-c" => drop(command.args(more)),
        (true, _) => drop(command.arg("--user-managed")),
        (false, more) => drop(command.args(more)),
    }
    command.env_remove("SOLR_HOME").env("SOLR_JETTY_HOST", "127.0.0.1").env("SOLR_HEAP", "384m");
    command.env("SOLR_LOGS_DIR", home.join("logs")).env("SOLR_PID_DIR", home);
    let log = fs::File::create(home.join("said")).expect("a file");
    command.stdin(Stdio::null()).stdout(log.try_clone().expect("a file")).stderr(log);
    command.spawn().expect("bin/solr can be run")
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory").flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a copy");
        }
    }
}

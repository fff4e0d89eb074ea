//! A `wisp up` with folders and ports of its own, and what tests ask of it.

mod artifacts;
mod client;
mod function;
mod load;
mod proc;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

pub(crate) use client::{Answer, Connection, Held, Multiplexed, full, get, host, post, streamed};
pub(crate) use function::{Function, function, guests, prebuilt, sample};
pub(crate) use load::Load;
pub(crate) use proc::{children, peak_bytes, reset_peak, resident_bytes, runs};

/// Longer than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(20);

/// The last lines of its log that a failed test shows.
const LOG_LINES_SHOWN: usize = 40;

/// A folder of manifests and a state folder, which outlive the programs that use them.
pub(crate) struct Place {
    root: TempDir,
}

/// A running `wisp up`. Ends with it, and its instances too.
pub(crate) struct Wisp {
    pub(crate) place: Arc<Place>,
    /// Where requests go.
    pub(crate) requests: SocketAddr,
    pub(crate) admin: SocketAddr,
    process: Child,
    pid: u32,
}

/// Waits for something that must happen.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("did not happen: {what}"))
}

/// Waits until something holds.
pub(crate) async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    soon(what, async {
        while !holds().await {
            tokio::time::sleep(LOOK).await;
        }
    })
    .await;
}

impl Place {
    /// With compiled code of `guests.wasm`, as if it had been deployed here before.
    pub(crate) async fn new(functions: &[Function]) -> Arc<Self> {
        let place = Self { root: tempfile::tempdir().unwrap() };
        std::fs::create_dir(place.manifests()).unwrap();
        std::fs::create_dir(place.state()).unwrap();
        artifacts::copy_to(&place.state().join("artifacts")).await;
        functions.iter().for_each(|function| place.write(function));
        Arc::new(place)
    }

    pub(crate) fn manifests(&self) -> PathBuf {
        self.root.path().join("manifests")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.root.path().join("state")
    }

    /// Adds a function's manifest, or replaces it.
    pub(crate) fn write(&self, function: &Function) {
        self.write_file(&format!("{}.yaml", function.name()), function.yaml().as_bytes());
    }

    /// Replaces a file as an editor does: no reader sees a half of it.
    pub(crate) fn write_file(&self, name: &str, bytes: &[u8]) {
        let hidden = self.manifests().join(format!(".{name}"));
        std::fs::write(&hidden, bytes).unwrap();
        std::fs::rename(hidden, self.manifests().join(name)).unwrap();
    }

    /// Takes a function's manifest away.
    pub(crate) fn remove(&self, function: &str) {
        std::fs::remove_file(self.manifests().join(format!("{function}.yaml"))).unwrap();
    }

    /// Starts `wisp up` with the manifests.
    pub(crate) async fn up(self: &Arc<Self>) -> Wisp {
        self.up_with(&[self.manifests().to_str().unwrap()]).await
    }

    /// Starts `wisp up` with `args`, and waits until it has printed its addresses.
    pub(crate) async fn up_with(self: &Arc<Self>, args: &[&str]) -> Wisp {
        let (process, requests, admin) = start(&self.state(), &self.log(), args).await;
        let pid = process.id().expect("it was not waited for");
        Wisp { place: Arc::clone(self), requests, admin, process, pid }
    }

    /// What `wisp up` wrote to standard error.
    pub(crate) fn log(&self) -> PathBuf {
        self.root.path().join("log")
    }
}

/// Starts `wisp up` on ports of the system's choice.
async fn start(state: &Path, log: &Path, args: &[&str]) -> (Child, SocketAddr, SocketAddr) {
    let log_file = std::fs::File::options().create(true).append(true).open(log).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_wisp"));
    command.args(["up", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--state"]).arg(state).args(args);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log_file).kill_on_drop(true);
    let mut process = command.spawn().unwrap();
    let mut lines = BufReader::new(process.stdout.take().expect("stdout is piped")).lines();
    let mut addresses = Vec::new();
    soon("wisp up prints its addresses", async {
        while addresses.len() < 2 {
            let line = lines.next_line().await.unwrap();
            let line = line.unwrap_or_else(|| panic!("wisp up ended:\n{}", std::fs::read_to_string(log).unwrap()));
            if let Some((_, address)) = line.split_once("   http://").filter(|_| !line.starts_with(' ')) {
                addresses.push(address.trim().parse().unwrap());
            }
        }
    })
    .await;
    (process, addresses[0], addresses[1])
}

impl Wisp {
    /// With these functions, each in a file of its own.
    pub(crate) async fn up(functions: &[Function]) -> Self {
        Place::new(functions).await.up().await
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.pid, signal);
    }

    /// Drains it and waits for its end.
    pub(crate) async fn stop(mut self) {
        self.signal(Signal::TERM);
        assert_eq!(self.exit().await.code(), Some(0));
    }

    /// Waits for its end.
    pub(crate) async fn exit(&mut self) -> ExitStatus {
        soon("wisp up ends", self.process.wait()).await.unwrap()
    }

    /// What another command of the same program prints about this one, as JSON.
    pub(crate) async fn command(&self, args: &[&str]) -> Value {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wisp"));
        command.args(args).args(["--output", "json", "--admin", &self.admin.to_string()]);
        let output = soon("a command ends", command.output()).await.unwrap();
        assert!(output.status.success(), "{args:?}: {output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Everything at one time, as the admin port tells it.
    pub(crate) async fn overview(&self) -> Value {
        self.admin_json("/api/overview").await
    }

    /// One function of the overview; null when it is not there.
    pub(crate) async fn function(&self, name: &str) -> Value {
        let overview = self.overview().await;
        find(&overview, name)
    }

    /// A function with its spec, revisions, instances and events.
    pub(crate) async fn detail(&self, name: &str) -> Value {
        self.admin_json(&format!("/api/functions/default/{name}")).await
    }

    pub(crate) async fn admin_json(&self, path: &str) -> Value {
        let answer = Connection::to(self.admin).await.send(get("localhost", path)).await.unwrap();
        serde_json::from_str(&answer.body).unwrap_or_else(|error| panic!("{path}: {error}: {answer:?}"))
    }

    /// What a function's instances wrote, oldest first, as far as it is kept.
    pub(crate) async fn lines(&self, name: &str) -> Vec<Value> {
        let path = format!("/api/functions/default/{name}/logs");
        let answer = Connection::to(self.admin).await.send(get("localhost", &path)).await.unwrap();
        answer.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Processes of the instances that serve a function now.
    pub(crate) async fn instances(&self, name: &str) -> Vec<u32> {
        let detail = self.detail(name).await;
        let ready = detail["instances"].as_array().unwrap().iter().filter(|instance| instance["state"] == "ready");
        ready.filter_map(|instance| u32::try_from(instance["pid"].as_u64()?).ok()).collect()
    }

    /// Waits until a function of the overview is as wanted.
    pub(crate) async fn until(&self, name: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let function = self.function(name).await;
            if holds(&function) {
                return function;
            }
            assert!(tokio::time::Instant::now() < deadline, "did not happen: {what}: {function}");
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits until a function has no instance, not even one on its way out.
    pub(crate) async fn until_zero(&self, name: &str) {
        self.until(name, "no instance is left", |f| f["replicas"] == 0 && f["starting"] == 0 && f["draining"] == 0)
            .await;
    }

    /// The answer of a function.
    pub(crate) async fn get(&self, function: &str, path: &str) -> Answer {
        self.try_get(function, path).await.unwrap_or_else(|error| panic!("{function}{path}: {error}"))
    }

    /// The answer of a function, or how the connection broke.
    pub(crate) async fn try_get(&self, function: &str, path: &str) -> Result<Answer, String> {
        Connection::to(self.requests).await.send(get(&host(function), path)).await
    }

    /// Asks in the background.
    pub(crate) fn spawn_get(&self, function: &str, path: &str) -> tokio::task::JoinHandle<Result<Answer, String>> {
        let (address, request) = (self.requests, get(&host(function), path));
        tokio::spawn(async move { Connection::to(address).await.send(request).await })
    }

    /// A request that is in flight until it is told to finish.
    pub(crate) async fn hold(&self, function: &str) -> Held {
        Held::begin(self.requests, function).await
    }

    /// Asserts that a function answers.
    pub(crate) async fn answers(&self, function: &str) {
        let answer = self.get(function, "/hello").await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "hello\n"), "{function}");
    }
}

impl Drop for Wisp {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.place.log()).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("-- log of wisp up\n{}", lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n"));
        }
        // Already waited for: the number may be another process's by now.
        if self.process.id().is_none() {
            return;
        }
        let instances = children(self.pid);
        self.signal(Signal::KILL);
        instances.into_iter().for_each(|instance| kill(instance, Signal::KILL));
    }
}

/// Signals a process; one that has ended is none to complain about.
pub(crate) fn kill(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(pid.cast_signed()).expect("a pid is not zero");
    let _ended = kill_process(pid, signal);
}

fn find(overview: &Value, name: &str) -> Value {
    let functions = overview["functions"].as_array().expect("an overview has functions");
    functions.iter().find(|function| function["name"] == name).cloned().unwrap_or_default()
}

/// A function of `wisp ls --output json`.
pub(crate) async fn listed(wisp: &Wisp, name: &str) -> Value {
    find(&wisp.command(&["ls"]).await, name)
}

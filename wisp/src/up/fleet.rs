//! The process fleet: one host process per instance, started and ended as the autoscaler asks.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use wisp_api::key::RevisionKey;
use wisp_autoscaler::{Actuation, Handle};
use wisp_chassis::backoff::Backoff;

use super::clock;
use super::logs::{Logs, read_lines};
use crate::view::{LogLine, Stream};

/// A warm instance that ends this soon was broken: the next one waits longer.
const EARLY_EXIT: Duration = Duration::from_secs(5);
/// No request is in flight by then: what is left is closing connections and saying goodbye to the autoscaler.
const INSTANCES_END_WITHIN: Duration = Duration::from_secs(5);
const RESPAWN_FIRST: Duration = Duration::from_millis(100);
const RESPAWN_CAP: Duration = Duration::from_secs(10);

/// How hosts are started.
#[derive(Clone, Debug)]
pub(crate) struct HostProgram {
    /// This program.
    pub(crate) program: PathBuf,
    /// Folder for the instances' sockets.
    pub(crate) run: PathBuf,
    /// The autoscaler's socket.
    pub(crate) control: PathBuf,
    /// The installation's key.
    pub(crate) seal_key: PathBuf,
    /// See `wisp up --allow-private-outbound`.
    pub(crate) allow_private_outbound: Vec<String>,
}

/// Which process is which instance, for those who look.
#[derive(Clone, Debug, Default)]
pub(crate) struct Processes(Arc<Mutex<HashMap<String, u32>>>);

/// Runs host processes.
pub(crate) struct Fleet {
    host: HostProgram,
    autoscaler: Handle,
    logs: Arc<Logs>,
    processes: Processes,
    instances: HashMap<String, Instance>,
    exits: JoinSet<Exited>,
    warm_wanted: usize,
    /// When the next warm instance may be started, after some that broke.
    warm_pause: Option<Instant>,
    warm_backoff: Backoff,
    started: u64,
}

struct Instance {
    pid: Pid,
    began: Instant,
    role: Arc<Mutex<Role>>,
}

/// Whom an instance serves.
#[derive(Clone, Debug)]
enum Role {
    /// Nobody yet.
    Warm,
    /// This revision, for the rest of its life.
    Of(RevisionKey),
}

struct Exited {
    instance: String,
    cause: String,
}

impl Processes {
    /// The process of an instance that runs.
    pub(crate) fn pid(&self, instance: &str) -> Option<u32> {
        self.lock().get(instance).copied()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Fleet {
    pub(crate) fn new(host: HostProgram, autoscaler: Handle, logs: Arc<Logs>, processes: Processes) -> Self {
        Self {
            host,
            autoscaler,
            logs,
            processes,
            instances: HashMap::new(),
            exits: JoinSet::new(),
            warm_wanted: 0,
            warm_pause: None,
            warm_backoff: Backoff::new(RESPAWN_FIRST, RESPAWN_CAP),
            started: 0,
        }
    }

    /// Does what is asked until `stop`; then lets all instances drain, and kills what is left after
    /// [`INSTANCES_END_WITHIN`].
    pub(crate) async fn run(
        mut self,
        mut actuations: mpsc::Receiver<Actuation>,
        stop: CancellationToken,
    ) -> mpsc::Receiver<Actuation> {
        loop {
            let pause = self.warm_pause;
            tokio::select! {
                () = stop.cancelled() => break,
                actuation = actuations.recv() => match actuation {
                    Some(actuation) => self.actuate(actuation).await,
                    None => break,
                },
                Some(exited) = self.exits.join_next() => self.exited(exited).await,
                () = tokio::time::sleep_until(pause.unwrap_or_else(Instant::now)), if pause.is_some() => {
                    self.warm_pause = None;
                    self.fill_warm().await;
                }
            }
        }
        self.end_all().await;
        actuations
    }

    async fn actuate(&mut self, actuation: Actuation) {
        match actuation {
            Actuation::Warm { count, .. } => {
                self.warm_wanted = count as usize;
                self.fill_warm().await;
            }
            Actuation::Claimed { instance, revision } => {
                if let Some(instance) = self.instances.get(&instance) {
                    *instance.role() = Role::Of(revision);
                }
            }
            Actuation::Start { revision, count } => {
                for _ in 0..count {
                    if let Err(message) = self.start(Role::Of(revision.clone())).await {
                        tracing::warn!(%revision, message, "cannot start an instance");
                    }
                }
            }
            Actuation::Stop { instance } => self.signal(&instance, Signal::KILL),
            Actuation::Scaled { .. } => {}
        }
    }

    /// Starts warm instances until there are as many as wanted.
    async fn fill_warm(&mut self) {
        while self.warm_pause.is_none() && self.warm() < self.warm_wanted {
            if let Err(message) = self.start(Role::Warm).await {
                tracing::warn!(message, "cannot start a warm instance; trying again");
                self.warm_pause = Some(Instant::now() + self.warm_backoff.wait());
            }
        }
    }

    fn warm(&self) -> usize {
        self.instances.values().filter(|instance| matches!(*instance.role(), Role::Warm)).count()
    }

    async fn start(&mut self, role: Role) -> Result<(), String> {
        self.started += 1;
        let instance = format!("i{}-{:08x}", self.started, fastrand::u32(..));
        let token = format!("{:032x}", fastrand::u128(..));
        let revision = match &role {
            Role::Warm => None,
            Role::Of(revision) => Some(revision.clone()),
        };
        log_stopped(self.autoscaler.instance_expected(&*instance, &*token, revision).await);
        let folder = self.host.run.join(&instance);
        let spawned = std::fs::create_dir(&folder).and_then(|()| self.spawn(&instance, &folder));
        let (child, pid) = match spawned {
            Ok(started) => started,
            Err(error) => {
                let message = format!("cannot start {}: {error}", self.host.program.display());
                log_stopped(self.autoscaler.instance_exited(&*instance, &*message).await);
                return Err(message);
            }
        };
        self.processes.lock().insert(instance.clone(), pid.as_raw_nonzero().get().unsigned_abs());
        let role = Arc::new(Mutex::new(role));
        let follow = Follow { instance: instance.clone(), role: Arc::clone(&role), logs: Arc::clone(&self.logs) };
        self.exits.spawn(follow.until_exit(child, token));
        self.instances.insert(instance, Instance { pid, began: Instant::now(), role });
        Ok(())
    }

    /// `folder` is the instance's own: its socket and what it keeps while it lives.
    fn spawn(&self, instance: &str, folder: &Path) -> std::io::Result<(Child, Pid)> {
        let host = &self.host;
        let mut command = Command::new(&host.program);
        command.args(["host", "warm", "--namespace", "", "--token-fd", "0"]);
        command.arg("--exit-with-parent").arg(std::process::id().to_string());
        command.arg("--control").arg(format!("unix:{}", host.control.display()));
        command.arg("--listen").arg(format!("unix:{}", folder.join("s").display()));
        command.arg("--seal-key").arg(&host.seal_key).args(["--instance", instance]);
        for address in &host.allow_private_outbound {
            command.args(["--allow-private-outbound", address]);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        // A guest's process inherits nothing of ours but how much to log, and whom to trust.
        let inherited = ["WISP_LOG", "SSL_CERT_FILE", "SSL_CERT_DIR"];
        command.env_clear().envs(inherited.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        command.env("TMPDIR", folder);
        let child = command.spawn()?;
        let pid = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
        Ok((child, pid.expect("a child that was not waited for has a pid")))
    }

    async fn exited(&mut self, exited: Result<Exited, tokio::task::JoinError>) {
        let Exited { instance, cause } = exited.expect("following an instance does not panic");
        self.processes.lock().remove(&instance);
        log_stopped(self.autoscaler.instance_exited(&*instance, &*cause).await);
        self.remove_folder(&instance);
        let Some(known) = self.instances.remove(&instance) else { return };
        let role = known.role().clone();
        match role {
            Role::Warm if known.began.elapsed() < EARLY_EXIT => {
                tracing::warn!(instance, cause, "a warm instance ended at once; trying again");
                self.warm_pause = Some(Instant::now() + self.warm_backoff.wait());
            }
            Role::Warm => self.warm_backoff.reset(),
            Role::Of(revision) => tracing::debug!(instance, cause, %revision, "an instance ended"),
        }
        self.fill_warm().await;
    }

    fn remove_folder(&self, instance: &str) {
        if let Err(error) = std::fs::remove_dir_all(self.host.run.join(instance)) {
            tracing::warn!(instance, %error, "an instance's folder stays behind until the next start");
        }
    }

    fn signal(&self, instance: &str, signal: Signal) {
        if let Some(known) = self.instances.get(instance)
            && let Err(error) = kill_process(known.pid, signal)
        {
            // It ended just now and is about to be noticed.
            tracing::debug!(instance, %error, "no such process");
        }
    }

    async fn end_all(&mut self) {
        self.warm_wanted = 0;
        for instance in self.instances.keys() {
            self.signal(instance, Signal::TERM);
        }
        let all_ended = async { while self.exits.join_next().await.is_some() {} };
        if tokio::time::timeout(INSTANCES_END_WITHIN, all_ended).await.is_err() {
            tracing::warn!(instances = self.exits.len(), "instances did not end in time and are killed");
        }
        self.exits.shutdown().await;
        for instance in self.instances.keys() {
            self.remove_folder(instance);
        }
    }
}

impl Instance {
    fn role(&self) -> std::sync::MutexGuard<'_, Role> {
        self.role.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Follows one process: gives it its token, keeps what it writes, and waits for its end.
struct Follow {
    instance: String,
    role: Arc<Mutex<Role>>,
    logs: Arc<Logs>,
}

impl Follow {
    async fn until_exit(self, mut child: Child, token: String) -> Exited {
        let mut stdin = child.stdin.take().expect("stdin is piped");
        let stdout = child.stdout.take().expect("stdout is piped");
        let stderr = child.stderr.take().expect("stderr is piped");
        // A host that is gone already is noticed below.
        let _broken = stdin.write_all(token.as_bytes()).await;
        drop(stdin);
        let each = |stream, text| self.line(stream, text);
        tokio::join!(read_lines(stdout, Stream::Stdout, each), read_lines(stderr, Stream::Stderr, each));
        let cause = match child.wait().await {
            Ok(status) => status.to_string(),
            Err(error) => format!("cannot be waited for: {error}"),
        };
        Exited { instance: self.instance, cause }
    }

    fn line(&self, stream: Stream, text: String) {
        let role = self.role.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Role::Of(revision) = role else {
            tracing::info!(instance = self.instance, "{text}");
            return;
        };
        let function = revision.function();
        let instance = self.instance.clone();
        let line = LogLine { unix_millis: clock::unix_millis(), instance, revision: revision.name, stream, text };
        self.logs.add(&function, line);
    }
}

fn log_stopped(result: Result<(), wisp_autoscaler::HandleError>) {
    if let Err(error) = result {
        tracing::debug!(%error, "the fleet could not tell the autoscaler");
    }
}

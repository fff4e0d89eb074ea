//! The cluster that all tests here share, one at a time.

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard};
use wisp_cluster::{Cluster, until};
use wisp_platform::{
    Client, Function, Load, PATIENCE, Platform, SYSTEM, SharedPlatform, hello, installable, look, static_programs,
};

static PLATFORM: SharedPlatform = SharedPlatform::new(programs, || installable(programs()));
// Each test takes something away that the others need.
static TURN: Mutex<()> = Mutex::const_new(());

/// Between two requests of the load: enough for each moment to have some, and little for a busy machine.
const EVERY: Duration = Duration::from_millis(25);

/// Requests enough to see that they are answered.
const SOME: u64 = 40;

fn programs() -> Option<PathBuf> {
    static_programs(env!("CARGO_TARGET_TMPDIR"))
}

/// The whole cluster in the hands of one test.
pub(crate) struct Turn {
    platform: Platform,
    _turn: MutexGuard<'static, ()>,
}

impl std::ops::Deref for Turn {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        &self.platform
    }
}

/// Two functions to watch while something is lost, with their clients, which need no API server.
pub(crate) struct Watched {
    /// Under load, which has begun.
    pub(crate) load: Load,
    /// At zero, with a warm instance that waits for it.
    pub(crate) asleep: Function,
    pub(crate) client: Client,
}

/// None where no cluster can run.
pub(crate) async fn turn() -> Option<Turn> {
    let turn = TURN.lock().await;
    let platform = PLATFORM.get().await?;
    // A test that failed may have left it broken.
    platform.mend().await.unwrap();
    let turn = Turn { platform, _turn: turn };
    turn.until_all_are_ready().await;
    Some(turn)
}

impl Turn {
    /// One function under load, and one at zero. Tests share them.
    pub(crate) async fn watched(&self) -> Watched {
        let (busy, asleep) = (hello(self, "busy"), hello(self, "asleep").with("scaling.idle", "3s"));
        busy.deploy(self).await;
        asleep.deploy(self).await;
        let load = Load::start(&busy.client(self).await, "/", EVERY);
        load.until_more(SOME).await.unwrap();
        let client = asleep.client(self).await;
        asleep.until_replicas(self, 0).await;
        self.until_field("wp/default", "{.status.ready}", |ready| ready == "2").await;
        Watched { load, asleep, client }
    }

    /// Every program of Wisp is ready, and the API server answers.
    pub(crate) async fn until_all_are_ready(&self) {
        let path = "{range .items[*]}{.kind}{.spec.replicas}={.status.readyReplicas}{.status.numberReady} {end}";
        let path = format!("jsonpath={path}");
        let ready = until("all of Wisp is ready", PATIENCE, async || {
            let found = self.kubectl(["-n", SYSTEM, "get", "deployments,daemonsets", "-o", &path]).await;
            let Ok(found) = found else { return Ok(None) };
            let is_ready = |part: &str| matches!(part, "Deployment2=2" | "DaemonSet=1");
            Ok((found.split_whitespace().filter(|part| is_ready(part)).count() == 4).then_some(()))
        });
        if let Err(error) = ready.await {
            panic!("{error:#}\n{}", look(self).await);
        }
    }

    /// Waits until a field of an object is as wanted. An API server that is away is waited for.
    pub(crate) async fn until_field(&self, object: &str, path: &str, wanted: impl Fn(&str) -> bool) {
        let what = format!("{path} of {object} is as wanted");
        let found = until(&what, PATIENCE, async || {
            let found = self.field(object, path).await.unwrap_or_default();
            Ok(wanted(&found).then_some(()))
        });
        if let Err(error) = found.await {
            panic!("{error:#}\n{}", look(self).await);
        }
    }

    /// The names of a function's pods that nobody has given up.
    pub(crate) async fn serving(&self, function: &str) -> Vec<String> {
        let marks = r"{.metadata.annotations.wisp\.dev/stop}{.metadata.deletionTimestamp}";
        let each = format!(r"jsonpath={{range .items[*]}}{{.metadata.name}} {marks}{{'\n'}}{{end}}");
        let label = format!("wisp.dev/function={function}");
        let pods = self.kubectl(["get", "pods", "-l", &label, "-o", &each]).await.unwrap();
        // With a mark there is a second word.
        pods.lines().filter_map(|line| line.strip_suffix(' ')).map(str::to_owned).collect()
    }

    /// The name of the pod that leads, by its lease.
    pub(crate) async fn leader(&self, lease: &str) -> String {
        let path = "jsonpath={.spec.holderIdentity}";
        self.kubectl(["-n", SYSTEM, "get", "lease", lease, "-o", path]).await.unwrap()
    }
}

impl Watched {
    /// The function at zero is started by its first request, and goes back to zero.
    pub(crate) async fn wakes(&self) {
        let answer = self.client.get("/").await.unwrap();
        assert_eq!((answer.status.as_u16(), answer.body.trim()), (200, "hello"), "{:?}", answer.headers);
    }

    /// All is as before: nothing was lost, and what is new becomes ready and is served.
    pub(crate) async fn ends_well(self, turn: &Turn) {
        turn.until_all_are_ready().await;
        self.load.until_more(SOME).await.unwrap();
        self.load.end_without_loss().await;
        self.asleep.until_replicas(turn, 0).await;
        let new = hello(turn, "new");
        new.deploy(turn).await;
        let client = new.client(turn).await;
        // An activator knows of it when it watches again.
        let served = async || Ok((client.get("/").await?.status == 200).then_some(()));
        until("what is new is served", PATIENCE, served).await.unwrap();
        turn.kubectl(["delete", "wf/new"]).await.unwrap();
    }
}

//! The shared cluster with the shim, images in its registry, pods of them, and asking them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use serde_json::Value;
use tokio::sync::OnceCell;
use wisp_cluster::{Cluster, Lent, Settings, Shared, ask, ask_until, can_run, static_programs, until};

static CLUSTER: Shared = Shared::new(settings);
static IMAGES: OnceCell<()> = OnceCell::const_new();

/// What is asked for here takes about a second on an idle machine; this one may be building next door.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// What the registry has; the names in it are those of the files.
const GUESTS: [&str; 3] = ["guests", "command", "command-preview1"];

/// The static programs, if they were built.
pub(crate) fn programs() -> Option<PathBuf> {
    static_programs(env!("CARGO_TARGET_TMPDIR"), &["containerd-shim-wisp-v1", "wisp-host"])
}

/// A committed component.
pub(crate) fn prebuilt(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../tests/guests/prebuilt/{name}.wasm"))
}

/// The cluster, with the guests in its registry; none where it cannot run.
pub(crate) async fn cluster() -> Option<Lent> {
    programs()?;
    let cluster = CLUSTER.get().await?;
    IMAGES.get_or_init(|| push(&cluster)).await;
    Some(cluster)
}

/// A cluster of the test's own, for one that disturbs it or looks at all of it; none where it cannot run.
pub(crate) async fn own_cluster() -> Option<Cluster> {
    programs()?;
    can_run().ok()?;
    let cluster = Cluster::start(settings()).await.unwrap();
    push(&cluster).await;
    Some(cluster)
}

fn settings() -> Settings {
    Settings { shim: programs(), ..Settings::default() }
}

async fn push(cluster: &Cluster) {
    for guest in GUESTS {
        cluster.registry().push_component(&format!("{guest}:1"), &prebuilt(guest)).await.unwrap();
    }
}

/// A pod of one component, as a sentence.
#[derive(Clone, Debug)]
pub(crate) struct Pod {
    name: String,
    spec: Value,
}

/// A pod that serves the guest with many paths.
pub(crate) fn server(cluster: &Cluster, name: &str) -> Pod {
    Pod::of(cluster, name, "guests").with("containers.0.command", serde_json::json!(["/"]))
}

/// A pod that runs the command guest with `arguments`, once.
pub(crate) fn command(cluster: &Cluster, name: &str, arguments: &[&str]) -> Pod {
    let words: Vec<&str> = ["command"].iter().chain(arguments).copied().collect();
    Pod::of(cluster, name, "command")
        .with("containers.0.command", serde_json::json!(words))
        .with("restartPolicy", "Never")
}

impl Pod {
    fn of(cluster: &Cluster, name: &str, guest: &str) -> Self {
        let image = format!("{}/{guest}:1", cluster.registry().address());
        let spec = serde_json::json!({
            "runtimeClassName": "wisp",
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "terminationGracePeriodSeconds": 2,
            "containers": [{"name": "guest", "image": image}],
        });
        Self { name: name.to_owned(), spec }
    }

    /// Sets a field of the spec, by a path such as `containers.0.resources`.
    pub(crate) fn with(mut self, path: &str, value: impl Into<Value>) -> Self {
        let mut at = &mut self.spec;
        for step in path.split('.') {
            at = match step.parse::<usize>() {
                Ok(index) => &mut at[index],
                Err(_) => &mut at[step],
            };
        }
        *at = value.into();
        self
    }

    pub(crate) fn spec(&self) -> &Value {
        &self.spec
    }

    pub(crate) async fn start(&self, cluster: &Cluster) {
        let metadata = serde_json::json!({"name": self.name, "labels": {"app": self.name}});
        let pod = serde_json::json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": self.spec});
        cluster.apply(&pod.to_string()).await.unwrap();
    }

    /// Starts it, and returns its address when Kubernetes calls it ready.
    pub(crate) async fn serve(&self, cluster: &Cluster) -> String {
        self.start(cluster).await;
        wait_ready(cluster, &self.name).await;
        format!("http://{}:8080", field(cluster, &format!("pod/{}", self.name), "{.status.podIP}").await)
    }

    /// Starts it, and returns its exit code and the reason when it has ended.
    pub(crate) async fn run(&self, cluster: &Cluster) -> (i64, String) {
        self.start(cluster).await;
        ended(cluster, &self.name).await
    }
}

/// Words for a shell on the node: `guest` is the folder in `/proc` of the host whose arguments have `mark`. The shell has this very
/// text among its own, and is no host.
pub(crate) fn find(mark: &str) -> String {
    format!(
        r#"
        for p in /proc/[0-9]*; do
            [ "$(cat $p/comm 2>/dev/null)" = wisp-host ] && grep -qaz -e {mark} $p/cmdline && guest=$p && break
        done
        "#
    )
}

/// Exit code and reason of a pod's container, when it has ended.
pub(crate) async fn ended(cluster: &Cluster, pod: &str) -> (i64, String) {
    let path = "{.status.containerStatuses[0].state.terminated}";
    let what = format!("pod {pod} ends");
    let found = until(&what, PATIENCE, async || {
        let state = field(cluster, &format!("pod/{pod}"), path).await;
        Ok((!state.is_empty()).then_some(state))
    });
    let state: Value = match found.await {
        Ok(state) => serde_json::from_str(&state).unwrap(),
        Err(error) => panic!("{error:#}\n{}", describe(cluster, pod).await),
    };
    (state["exitCode"].as_i64().unwrap(), state["reason"].as_str().unwrap_or_default().to_owned())
}

pub(crate) async fn describe(cluster: &Cluster, pod: &str) -> String {
    cluster.kubectl(["describe", "pod", pod]).await.unwrap_or_default()
}

pub(crate) async fn wait_ready(cluster: &Cluster, pod: &str) {
    cluster.wait_ready(pod, PATIENCE).await.unwrap_or_else(|error| panic!("{error:#}"));
}

/// Waits until a field of an object is as wanted, and returns it.
pub(crate) async fn until_field(cluster: &Cluster, object: &str, path: &str, wanted: impl Fn(&str) -> bool) -> String {
    let what = format!("{path} of {object}");
    let found = until(&what, PATIENCE, async || {
        let found = cluster.field(object, path).await.unwrap_or_default();
        Ok(wanted(&found).then_some(found))
    });
    match found.await {
        Ok(found) => found,
        Err(error) => panic!("{error:#}\n{}", cluster.kubectl(["describe", object]).await.unwrap_or_default()),
    }
}

/// One field of an object, by a path such as `{.status.podIP}`.
pub(crate) async fn field(cluster: &Cluster, object: &str, path: &str) -> String {
    cluster.field(object, path).await.unwrap()
}

/// Asks from this machine, until there is an answer.
pub(crate) async fn get(url: &str) -> String {
    ask_until(url, PATIENCE).await.unwrap()
}

pub(crate) async fn get_json(url: &str) -> Value {
    serde_json::from_str(&get(url).await).unwrap()
}

pub(crate) async fn try_get(url: &str) -> Result<String> {
    ask(url, Duration::from_secs(10)).await
}

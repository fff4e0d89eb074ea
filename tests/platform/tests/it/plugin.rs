//! `kubectl wisp`, called by kubectl itself, with the rights that docs/kubernetes.md gives a developer.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use wisp_cluster::until;

use wisp_platform::{DOMAIN, PATIENCE, SYSTEM, hello, look, repository};

use crate::platform::{Platform, platform, wisp};

const FUNCTION: &str = "plug";
const DEVELOPER: &str = "wisp-developer";
/// What `wisp invoke` ends with when a function refuses.
const EXIT_REFUSED: i32 = 22;

/// A developer's machine: kubectl with the plugin in the PATH, a kubeconfig, and a folder with a function.
struct Developer<'a> {
    platform: &'a Platform,
    home: TempDir,
}

/// What a command wrote.
#[derive(Debug)]
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

/// The manifests between the lines `# a developer` and the end of the code of docs/kubernetes.md.
fn rights() -> String {
    let docs = std::fs::read_to_string(repository().join("docs/kubernetes.md")).unwrap();
    let (_, code) = docs.split_once("```yaml\n# A developer").expect("docs/kubernetes.md says what a developer needs");
    code.split_once("```").expect("the code ends").0.split_once('\n').expect("it has lines").1.to_owned()
}

impl<'a> Developer<'a> {
    async fn new(platform: &'a Platform, program: &Path) -> Result<Self> {
        platform.apply(&rights()).await?;
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": DEVELOPER, "namespace": "default"}});
        platform.apply(&account.to_string()).await?;
        let home = tempfile::tempdir()?;
        std::os::unix::fs::symlink(program, home.path().join("kubectl-wisp"))?;
        let token = platform.kubectl(["create", "token", DEVELOPER]).await?;
        let config = platform.kubectl(["config", "view", "--raw", "-o", "json"]).await?;
        let mut config: Value = serde_json::from_str(&config)?;
        config["users"][0]["user"] = json!({"token": token.trim()});
        std::fs::write(home.path().join("kubeconfig"), config.to_string())?;
        std::fs::write(home.path().join("ca.crt"), platform.registry().authority()?)?;
        std::fs::create_dir(home.path().join("function"))?;
        let guests = repository().join("tests/guests/prebuilt/guests.wasm");
        std::fs::copy(guests, home.path().join("function/guests.wasm"))?;
        Ok(Self { platform, home })
    }

    /// Writes the manifest that `wisp up` would run as well.
    fn write(&self, argument: &str) -> Result<()> {
        let spec = json!({"component": {"path": "guests.wasm"}, "args": [argument]});
        let metadata = json!({"name": FUNCTION});
        let function =
            json!({"apiVersion": "wisp.dev/v1alpha1", "kind": "WasmFunction", "metadata": metadata, "spec": spec});
        Ok(std::fs::write(self.home.path().join("function/function.yaml"), function.to_string())?)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.platform.kubectl_command(["wisp"].iter().chain(arguments));
        command.env("PATH", self.home.path()).env("KUBECONFIG", self.home.path().join("kubeconfig"));
        command.current_dir(self.home.path()).stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    async fn run(&self, arguments: &[&str]) -> Result<Said> {
        let output = tokio::time::timeout(PATIENCE, self.command(arguments).output()).await;
        let output = output.with_context(|| format!("{arguments:?} does not end"))??;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(Said { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) })
    }

    /// What a command writes that ends well.
    async fn wisp(&self, arguments: &[&str]) -> Result<String> {
        let said = self.run(arguments).await?;
        ensure!(said.code == Some(0), "{arguments:?}: {said:?}");
        Ok(said.out)
    }

    async fn deploy(&self) -> Result<String> {
        let repository = format!("{}/plug/functions", self.platform.registry().address());
        self.wisp(&["deploy", "function", "--push", &repository, "--registry-ca", "ca.crt"]).await
    }

    /// Waits until the function answers as the revision that was given this argument.
    async fn until_answered_by(&self, argument: &str, more: &[&str]) -> Result<()> {
        let what = format!("requests reach the revision {argument:?}");
        until(&what, PATIENCE, async || {
            let arguments = [&["invoke", FUNCTION, "--path", "/env-attack"], more].concat();
            let answer: Value = serde_json::from_str(&self.wisp(&arguments).await?)?;
            let args = answer["args"].as_array().cloned().unwrap_or_default();
            Ok((args.last() == Some(&json!(argument))).then_some(()))
        })
        .await
    }
}

#[tokio::test]
async fn a_function_lives_and_ends_by_kubectl_wisp_alone() {
    let (Some(platform), Some(program)) = (platform().await, wisp()) else { return };
    if let Err(error) = life(&platform, &program).await {
        panic!("{error:#}\n{}", look(&platform).await);
    }
}

async fn life(platform: &Platform, program: &Path) -> Result<()> {
    let developer = Developer::new(platform, program).await?;
    developer.write("first")?;
    let said = developer.run(&["deploy", "function"]).await?;
    ensure!(said.code == Some(1) && said.err.contains("give --push REGISTRY/REPOSITORY"), "{said:?}");
    let deployed = developer.deploy().await?;
    ensure!(deployed == format!("plug is ready: http://plug.default.{DOMAIN}\n"), "{deployed}");
    let manifest = std::fs::read_to_string(developer.home.path().join("function/function.yaml"))?;
    ensure!(manifest.contains("guests.wasm"), "the manifest stays as it was: {manifest}");
    let listed = developer.wisp(&["ls"]).await?;
    ensure!(listed.lines().any(|line| line.starts_with("plug ") && line.contains("True")), "{listed}");
    developer.until_answered_by("first", &[]).await?;

    developer.write("second")?;
    developer.deploy().await?;
    developer.until_answered_by("second", &[]).await?;
    let described = developer.wisp(&["describe", FUNCTION]).await?;
    ensure!(described.contains("plug-00001") && described.contains("Instances:"), "{described}");
    let explained = developer.wisp(&["explain", FUNCTION]).await?;
    ensure!(explained.contains("plug-00002 wants 1 instance"), "{explained}");

    logs(&developer).await?;
    traffic(&developer).await?;

    let deleted = developer.wisp(&["delete", FUNCTION]).await?;
    ensure!(deleted == "default/plug is deleted\n", "{deleted}");
    let said = developer.run(&["invoke", FUNCTION]).await?;
    ensure!(said.code == Some(1) && said.err.contains("there is no function \"plug\""), "{said:?}");
    Ok(())
}

/// A trap is told in the log of its instance, to those who follow too.
async fn logs(developer: &Developer<'_>) -> Result<()> {
    let mut follower = developer.command(&["logs", FUNCTION, "-f", "--tail", "0"]).stdout(Stdio::piped()).spawn()?;
    let mut lines = BufReader::new(follower.stdout.take().context("it is piped")?).lines();
    let followed = async {
        while let Some(line) = lines.next_line().await? {
            if line.contains("trap") {
                return Ok(());
            }
        }
        anyhow::bail!("the follower ended")
    };
    // What was written before it began to follow is not for it.
    let trapping = until("a trap is in the log", PATIENCE, async || {
        let said = developer.run(&["invoke", FUNCTION, "--path", "/trap", "--include"]).await?;
        ensure!(said.code == Some(EXIT_REFUSED) && said.err.starts_with("502"), "{said:?}");
        Ok(None::<()>)
    });
    tokio::select! {
        seen = followed => seen?,
        error = trapping => return error.context("who follows sees no trap"),
    }
    let log = developer.wisp(&["logs", FUNCTION]).await?;
    ensure!(log.contains("trap"), "{log}");
    Ok(())
}

async fn traffic(developer: &Developer<'_>) -> Result<()> {
    let rolled = developer.wisp(&["rollback", FUNCTION]).await?;
    ensure!(rolled.contains("plug-00001   100"), "{rolled}");
    developer.until_answered_by("first", &[]).await?;
    developer.write("third")?;
    let deployed = developer.deploy().await?;
    ensure!(deployed.contains("plug-00003 gets no requests, as spec.traffic says: plug-00001 100%"), "{deployed}");
    let shared = developer.wisp(&["traffic", FUNCTION, "latest=100", "--tag", "old=2"]).await?;
    ensure!(shared.contains("plug-00003   100") && shared.contains("old"), "{shared}");
    developer.until_answered_by("third", &[]).await?;
    developer.until_answered_by("second", &["-H", &format!("Host: old-plug.default.{DOMAIN}")]).await?;
    let latest = developer.wisp(&["rollback", FUNCTION, "--latest"]).await?;
    ensure!(latest.contains("plug-00003   100"), "{latest}");
    let said = developer.run(&["rollback", FUNCTION, "--to", "9"]).await?;
    ensure!(said.code == Some(1) && said.err.contains("has no ready revision \"9\""), "{said:?}");
    Ok(())
}

#[tokio::test]
async fn who_may_not_reach_wisps_namespace_is_told_what_is_missing() {
    let (Some(platform), Some(program)) = (platform().await, wisp()) else { return };
    let developer = Developer::new(&platform, &program).await.unwrap();
    hello(&platform, "forbidden").deploy(&platform).await;
    let said = developer.run(&["invoke", "forbidden", "--system-namespace", "kube-system"]).await.unwrap();
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("pods/portforward in namespace \"kube-system\""), "{said:?}");
    assert!(said.err.contains("cannot get resource \"services\""), "{said:?}");
    let said = developer.run(&["ls", "-n", SYSTEM]).await.unwrap();
    assert!(said.code == Some(1) && said.err.contains("is forbidden"), "{said:?}");
}

#[tokio::test]
async fn a_host_that_another_function_has_is_said_when_it_is_deployed() {
    let (Some(platform), Some(program)) = (platform().await, wisp()) else { return };
    let developer = Developer::new(&platform, &program).await.unwrap();
    let first = hello(&platform, "owner").with("ingress.hosts", json!(["same.example"]));
    first.deploy(&platform).await;
    // Of two that were made in the same second, the first by name has it.
    let manifest = json!({"apiVersion": "wisp.dev/v1alpha1", "kind": "WasmFunction",
                          "metadata": {"name": "second"}, "spec": first.spec});
    std::fs::write(developer.home.path().join("second.yaml"), manifest.to_string()).unwrap();
    let said = developer.run(&["deploy", "second.yaml", "--timeout", "20"]).await.unwrap();
    assert_eq!(said.code, Some(1), "{said:?}");
    for words in ["default/second is not ready after", "same.example", "owner"] {
        assert!(said.err.contains(words), "{words}: {said:?}");
    }
}

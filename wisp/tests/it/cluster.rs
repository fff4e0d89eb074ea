//! Which side the commands talk to, and how they reach a cluster. What they do there is in tests/platform.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::process::Command;

use crate::harness::soon;

/// A folder with `kubectl-wisp` in it, which is the home of whoever calls it.
struct Home(TempDir);

impl Home {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        symlink(env!("CARGO_BIN_EXE_wisp"), home.path().join("kubectl-wisp")).unwrap();
        Self(home)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    async fn run(&self, program: impl AsRef<Path>, args: &[&str]) -> (Output, String) {
        let mut command = Command::new(program.as_ref());
        command.args(args).env_clear().env("HOME", self.0.path()).env("PATH", "/usr/bin:/bin").kill_on_drop(true);
        let output = soon("a command ends", command.output()).await.unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output, said)
    }

    async fn plugin(&self, args: &[&str]) -> (Output, String) {
        self.run(self.path("kubectl-wisp"), args).await
    }

    async fn wisp(&self, args: &[&str]) -> (Output, String) {
        self.run(env!("CARGO_BIN_EXE_wisp"), args).await
    }

    /// A kubeconfig whose user is whom a program says.
    fn write_kubeconfig(&self, server: &str) -> PathBuf {
        let helper = self.path("who");
        let credential = json!({"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential",
                                "status": {"token": "from-the-helper"}});
        std::fs::write(&helper, format!("#!/bin/sh\necho '{credential}'\n")).unwrap();
        std::fs::set_permissions(&helper, std::fs::Permissions::from_mode(0o755)).unwrap();
        let exec =
            json!({"apiVersion": "client.authentication.k8s.io/v1", "command": helper, "interactiveMode": "Never"});
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "other",
            "clusters": [{"name": "c", "cluster": {"server": server}}],
            "users": [{"name": "u", "user": {"exec": exec}}],
            "contexts": [
                {"name": "dev", "context": {"cluster": "c", "user": "u", "namespace": "team"}},
                {"name": "other", "context": {"cluster": "c", "user": "nobody"}},
            ],
        });
        let file = self.path("kubeconfig");
        std::fs::write(&file, config.to_string()).unwrap();
        file
    }
}

#[tokio::test]
async fn what_only_a_cluster_does_is_explained_where_there_is_none() {
    let home = Home::new();
    std::fs::write(home.path("function.yaml"), "").unwrap();
    let table: [(&[&str], &str); 3] = [
        (&["deploy", "function.yaml"], "`wisp up` runs the manifests of the files and folders that it is given"),
        (&["rollback", "hello"], "`wisp up` follows the manifest: undo the edit"),
        (&["traffic", "hello"], "`wisp up` follows spec.traffic of the manifest"),
    ];
    for (args, words) in table {
        let (output, said) = home.wisp(args).await;
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        assert!(said.contains(words) && said.contains("call `kubectl wisp`"), "{said}");
    }
    let (_, said) = home.wisp(&["ls", "--admin", "127.0.0.1:9"]).await;
    assert!(said.contains("no wisp up answers at 127.0.0.1:9"), "{said}");
}

#[tokio::test]
async fn the_plugin_wants_a_cluster_and_says_so() {
    let home = Home::new();
    let (output, said) = home.plugin(&["ls"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("there is no cluster to talk to; set KUBECONFIG, or give --kubeconfig"), "{said}");
    let (output, _) = home.plugin(&["--help"]).await;
    assert!(String::from_utf8_lossy(&output.stdout).contains("Usage: kubectl wisp "), "{output:?}");
    let (_, said) = home.wisp(&["ls", "--kubeconfig", "nowhere"]).await;
    assert!(said.contains("cannot read nowhere"), "{said}");
    let file = home.write_kubeconfig("http://127.0.0.1:9");
    let (_, said) = home.wisp(&["ls", "--kubeconfig", file.to_str().unwrap(), "--context", "prod"]).await;
    assert!(said.contains("the kubeconfig has no context \"prod\"; it has: dev, other"), "{said}");
    let (_, said) = home.wisp(&["ls", "--kubeconfig", file.to_str().unwrap(), "--context", "dev"]).await;
    assert!(said.contains("the API server http://127.0.0.1:9/ cannot be asked"), "{said}");
}

#[tokio::test]
async fn a_context_says_who_asks_where_and_for_which_namespace() {
    let home = Home::new();
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let file = home.write_kubeconfig(&format!("http://{}", server.local_addr().unwrap()));
    let refuse = async {
        let (mut stream, _) = server.accept().await.unwrap();
        let mut asked = vec![0; 4096];
        let length = stream.read(&mut asked).await.unwrap();
        let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 403,
                            "reason": "Forbidden", "message": "you may not list functions"});
        let body = status.to_string();
        let head = format!("content-type: application/json\r\ncontent-length: {}\r\nconnection: close", body.len());
        stream.write_all(format!("HTTP/1.1 403 Forbidden\r\n{head}\r\n\r\n{body}").as_bytes()).await.unwrap();
        String::from_utf8_lossy(&asked[..length]).to_lowercase()
    };
    let args = ["ls", "--kubeconfig", file.to_str().unwrap(), "--context", "dev"];
    let (asked, (output, said)) = tokio::join!(refuse, home.wisp(&args));
    assert!(asked.starts_with("get /apis/wisp.dev/v1alpha1/namespaces/team/wasmfunctions?"), "{asked}");
    assert!(asked.contains("authorization: bearer from-the-helper"), "{asked}");
    assert_eq!((output.status.code(), said.as_str()), (Some(1), "error: you may not list functions\n"));
}

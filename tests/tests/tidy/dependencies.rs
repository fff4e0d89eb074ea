//! Who may depend on whom.

use std::process::Command;

use serde_json::Value;

use crate::tree;

/// Know no runtime, no server and no client.
const PURE: [&str; 2] = ["wisp-api", "wisp-scaling"];
/// Each is a process of its own on a cluster: they meet in `wisp` only, and speak by `wisp-api`'s messages.
const COMPONENTS: [&str; 5] = ["wisp-activator", "wisp-autoscaler", "wisp-host", "wisp-operator", "wisp-shim"];
/// What components share. The last is for those that talk to the API server: never the host, nor the shim.
const SHARED: [&str; 5] = ["wisp-api", "wisp-scaling", "wisp-chassis", "wisp-identity", "wisp-kubernetes"];

/// One line of a `[dependencies]` table.
struct Dependency {
    package: String,
    name: String,
    features: Vec<String>,
}

/// What the packages of the workspace depend on when they are built, tests left out.
fn dependencies() -> Vec<Dependency> {
    let metadata = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(tree::root())
        .output()
        .expect("cargo runs this test");
    assert!(metadata.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&metadata.stderr));
    let metadata: Value = serde_json::from_slice(&metadata.stdout).expect("cargo metadata is JSON");
    let packages = metadata["packages"].as_array().expect("there are packages");
    packages.iter().flat_map(of_package).collect()
}

fn of_package(package: &Value) -> Vec<Dependency> {
    let text = |value: &Value| value.as_str().expect("it is a string").to_owned();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let built = list(&package["dependencies"]).into_iter().filter(|dependency| dependency["kind"].is_null());
    let dependency = |found: Value| Dependency {
        package: text(&package["name"]),
        name: text(&found["name"]),
        features: list(&found["features"]).iter().map(text).collect(),
    };
    built.map(dependency).collect()
}

/// Fails for each dependency that `forbidden` is true of.
fn forbid(why: &str, forbidden: impl Fn(&Dependency) -> bool) {
    let found = dependencies().into_iter().filter(forbidden);
    tree::expect_none(found.map(|found| format!("{} depends on {}: {why}", found.package, found.name)).collect());
}

#[test]
fn api_and_scaling_know_no_runtime_and_no_client() {
    const SHELL: [&str; 6] = ["tokio", "hyper", "hyper-util", "tonic", "tracing", "futures"];
    forbid("api and scaling are pure; a shell does this", |dependency| {
        let client = dependency.name == "kube" && dependency.features.iter().any(|name| name == "client");
        let grpc = dependency.package == "wisp-scaling" && dependency.name == "wisp-chassis";
        PURE.contains(&dependency.package.as_str()) && (SHELL.contains(&dependency.name.as_str()) || client || grpc)
    });
}

#[test]
fn components_do_not_depend_on_one_another() {
    forbid("components share api, scaling, chassis, identity and kubernetes; only wisp sees all", |dependency| {
        COMPONENTS.contains(&dependency.package.as_str())
            && dependency.name.starts_with("wisp")
            && !SHARED.contains(&dependency.name.as_str())
    });
}

#[test]
fn shared_crates_do_not_know_the_components() {
    forbid("what all share knows none of them", |dependency| {
        SHARED.contains(&dependency.package.as_str()) && COMPONENTS.contains(&dependency.name.as_str())
    });
}

#[test]
fn the_host_knows_neither_containerd_nor_kubernetes() {
    const OUTSIDE: [&str; 7] =
        ["kube", "k8s-openapi", "wisp-kubernetes", "containerd", "oci-spec", "libcontainer", "runwasi"];
    forbid("the host is an HTTP server with wasmtime behind", |dependency| {
        dependency.package == "wisp-host" && OUTSIDE.iter().any(|name| dependency.name.starts_with(name))
    });
}

#[test]
fn the_activator_decides_nothing() {
    forbid("the autoscaler is the only one that decides", |dependency| {
        dependency.package == "wisp-activator" && dependency.name == "wisp-scaling"
    });
}

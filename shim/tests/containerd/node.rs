//! A node: containerd with a folder, a `/run` and process numbers of its own. Whatever a test does, it ends with it.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

/// Far more than anything here takes, and less than a CI job waits.
const DEADLINE: Duration = Duration::from_secs(60);
/// Between two looks at what is waited for.
const LOOK: Duration = Duration::from_millis(20);
const RUNTIME: &str = "io.containerd.wisp.v1";

/// Programs that are not part of this repository.
struct Programs {
    folder: PathBuf,
}

/// A machine with containerd and the shim.
pub(crate) struct Node {
    folder: tempfile::TempDir,
    programs: Programs,
    /// Process 1 of the node; everything ends with it.
    first: Child,
    containerd: Option<Child>,
    /// Of containerd; also the name of all cgroups that are made.
    pub(crate) namespace: String,
}

impl Programs {
    /// Those of `tests/cluster`, or none with the reason.
    fn find() -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("needs root".to_owned());
        }
        let build = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/cluster/build");
        let found =
            Command::new(&build).arg("--where").output().map_err(|error| format!("{}: {error}", build.display()))?;
        if !found.status.success() {
            return Err(String::from_utf8_lossy(&found.stderr).trim().to_owned());
        }
        Ok(Self { folder: Path::new(String::from_utf8_lossy(&found.stdout).trim()).join("bin") })
    }
}

impl Node {
    /// A node, or none where this machine cannot be one; then it is said.
    pub(crate) fn start(name: &str) -> Option<Self> {
        match Programs::find() {
            Ok(programs) => Some(Self::with(programs, name)),
            Err(reason) => {
                println!("left out: {name}: {reason}");
                None
            }
        }
    }

    fn with(programs: Programs, name: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("wisp-shim-").tempdir().unwrap();
        let bin = folder.path().join("bin");
        fs::create_dir(&bin).unwrap();
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_containerd-shim-wisp-v1"), bin.join("containerd-shim-wisp-v1"))
            .unwrap();
        let mut first = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc"])
            // The first process collects orphans, as on any machine.
            .args(["bash", "-c", "mount -t tmpfs tmpfs /run && echo up && while :; do sleep 3600 & wait; done"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        BufReader::new(first.stdout.take().unwrap()).read_line(&mut said).unwrap();
        assert_eq!(said, "up\n");
        let namespace = format!("wisp-test-{}-{name}", std::process::id());
        let mut node = Self { folder, programs, first, containerd: None, namespace };
        fs::write(node.folder.path().join("containerd.toml"), node.configuration()).unwrap();
        fs::write(node.shim_settings(), format!("store = '{}'\n{}", node.path("store").display(), host_setting()))
            .unwrap();
        node.start_containerd();
        node
    }

    fn configuration(&self) -> String {
        format!(
            "version = 3\nroot = '{0}/root'\nstate = '{0}/state'\n\
             disabled_plugins = ['io.containerd.grpc.v1.cri', 'io.containerd.cri.v1.images', 'io.containerd.cri.v1.runtime']\n\
             [grpc]\naddress = '{0}/containerd.sock'\n[debug]\nlevel = 'debug'\n",
            self.folder.path().display()
        )
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn shim_settings(&self) -> PathBuf {
        self.path("shim.toml")
    }

    /// The node's files, as seen from here.
    pub(crate) fn root(&self) -> PathBuf {
        let init = fs::read_to_string(format!("/proc/{0}/task/{0}/children", self.first.id())).unwrap_or_default();
        Path::new("/proc").join(init.trim()).join("root")
    }

    /// A program within the node.
    pub(crate) fn command(&self, program: &str) -> Command {
        let first = self.root().parent().and_then(Path::file_name).unwrap().to_owned();
        let mut command = Command::new("nsenter");
        command.arg("--target").arg(first).args(["--mount", "--pid", "--"]).arg(program);
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{}:{path}", self.path("bin").display(), self.programs.folder.display()));
        command
    }

    pub(crate) fn start_containerd(&mut self) {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.path("containerd.log")).unwrap();
        // With a file that whoever started it forgot to close.
        let mut containerd = self.command("bash");
        containerd.args(["-c", "exec containerd --config \"$0\" 3</dev/null"]).arg(self.path("containerd.toml"));
        self.containerd = Some(containerd.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap());
        wait_for("containerd", || self.ctr(&["version"]).status.success().then_some(()));
    }

    /// Ends containerd as a service manager does; containers go on.
    pub(crate) fn stop_containerd(&mut self) {
        let mut containerd = self.containerd.take().unwrap();
        // nsenter waits for containerd; ask that one.
        let child = fs::read_to_string(format!("/proc/{0}/task/{0}/children", containerd.id())).unwrap();
        let pid = rustix::process::Pid::from_raw(child.trim().parse().unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        containerd.wait().unwrap();
    }

    /// The number of containerd in the node.
    pub(crate) fn containerd_id(&self) -> u32 {
        self.process("containerd --config")
    }

    /// The number in the node of the daemon that was started for the container `id`.
    pub(crate) fn daemon_id(&self, id: &str) -> u32 {
        self.process(&format!(" -id {id} "))
    }

    /// The number in the node of the one process whose command line has `words` in it.
    fn process(&self, words: &str) -> u32 {
        let lines = crate::traces::command_lines(&self.root());
        let mut found = lines.into_iter().filter(|(_, line)| line.contains(words));
        found.next().unwrap_or_else(|| panic!("no process is {words:?}")).0
    }

    /// ctr with these arguments.
    pub(crate) fn ctr(&self, arguments: &[&str]) -> Output {
        self.ctr_command(arguments).output().unwrap()
    }

    pub(crate) fn ctr_command(&self, arguments: &[&str]) -> Command {
        let mut command = self.command("ctr");
        command
            .arg("--address")
            .arg(self.path("containerd.sock"))
            .args(["--namespace", &self.namespace])
            .args(arguments);
        command
    }

    /// ctr's standard output; fails with all it said when it fails.
    pub(crate) fn ctr_ok(&self, arguments: &[&str]) -> String {
        let output = self.ctr(arguments);
        assert!(output.status.success(), "ctr {arguments:?}: {}\n{}", said(&output), self.log());
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// `ctr run` with this runtime.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.run_command(arguments).output().unwrap()
    }

    /// The same, for who does more than wait for its end.
    pub(crate) fn run_command(&self, arguments: &[&str]) -> Command {
        let settings = self.shim_settings();
        let mut all = vec!["run", "--runtime", RUNTIME, "--runtime-config-path", settings.to_str().unwrap()];
        all.extend(arguments);
        self.ctr_command(&all)
    }

    pub(crate) fn run_ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "ctr run {arguments:?}: {}\n{}", said(&output), self.log());
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// A root file system with the programs of this machine, to be given as `--rootfs` with [`Self::mounts`].
    pub(crate) fn rootfs(&self, name: &str) -> String {
        let root = self.path(name);
        for folder in ["usr", "proc", "sys", "dev", "tmp", "etc"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        for folder in ["bin", "lib", "lib64"] {
            let _ = std::os::unix::fs::symlink(format!("usr/{folder}"), root.join(folder));
        }
        root.to_str().unwrap().to_owned()
    }

    /// What containerd and the shim logged, for a test that fails.
    pub(crate) fn log(&self) -> String {
        let log = fs::read_to_string(self.path("containerd.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Ends every process of the node.
        let _ = self.first.kill();
        let _ = self.first.wait();
        if let Some(containerd) = &mut self.containerd {
            let _ = containerd.wait();
        }
        for folder in crate::traces::cgroups(&self.namespace) {
            let _ = fs::remove_dir(folder);
        }
    }
}

/// Read-only, what [`Node::rootfs`] needs.
pub(crate) const MOUNTS: [&str; 2] = ["--mount", "type=bind,src=/usr,dst=/usr,options=rbind:ro"];

/// All that a program said.
pub(crate) fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Waits until `seen` sees something.
pub(crate) fn wait_for<T>(what: &str, mut seen: impl FnMut() -> Option<T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let look = async {
        loop {
            if let Some(found) = seen() {
                return found;
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    let waited = runtime.block_on(async { tokio::time::timeout(DEADLINE, look).await });
    waited.unwrap_or_else(|_| panic!("{what} did not come within {DEADLINE:?}"))
}

/// The static host, which runs in images without libraries; none where it was not built.
pub(crate) fn host() -> Option<PathBuf> {
    let host = Path::new(env!("CARGO_TARGET_TMPDIR")).parent()?.join("static/wisp-host");
    host.exists().then_some(host)
}

fn host_setting() -> String {
    host().map(|host| format!("host = '{}'\n", host.display())).unwrap_or_default()
}

//! Compiling in a child process. A compiler is a large attack surface for a hostile component: the child has no
//! environment, no files, and bounds on time and memory, and all that comes back is bytes on a pipe.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use wasmparser::Parser;
use wasmtime::Engine;

use crate::engine::{Role, engine_config};
use crate::inspect::World;
use crate::preview1;

/// A component of 30 MiB (a whole Python) takes about a minute of CPU time on a slow machine.
const CPU_SECONDS: u64 = 300;
/// The same component needs about 2 GiB with two compiler threads.
const ADDRESS_SPACE_BYTES: u64 = 8 << 30;
/// A component of 64 MiB makes code of about three times its size.
const CODE_BYTES_MAX: u64 = 512 << 20;
/// A whole Python is 30 MiB.
pub const COMPONENT_BYTES_MAX: u64 = 128 << 20;
/// The child's last words, for the message.
const STDERR_BYTES_MAX: u64 = 8 << 10;
const WALL_TIMEOUT: Duration = Duration::from_secs(300);

/// How to start the child: usually this very program with its hidden subcommand.
#[derive(Clone, Debug)]
pub struct Compiler {
    /// The program.
    pub program: PathBuf,
    /// Its arguments, up to and with the subcommand; the world is added.
    pub args: Vec<OsString>,
}

/// Why there is no compiled code.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// The child did not start or its pipes broke.
    #[error("cannot run the compiler {program}: {source}")]
    Start {
        /// The program that was tried.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The child says that the component is at fault, or was stopped by a limit.
    #[error("compiling failed ({status}): {message}")]
    Failed {
        /// How it ended.
        status: ExitStatus,
        /// What it wrote last.
        message: String,
    },
    /// It took too long.
    #[error("compiling took longer than {} s; the component is too large for this machine", WALL_TIMEOUT.as_secs())]
    TimedOut,
    /// The result is beyond all reason.
    #[error("the compiled code is larger than {} MiB; split the component", CODE_BYTES_MAX >> 20)]
    TooLarge,
}

impl Compiler {
    /// This program, with `args` before the world.
    ///
    /// # Errors
    /// When the system does not tell where this program is.
    pub fn current_program<I: IntoIterator<Item = S>, S: Into<OsString>>(args: I) -> io::Result<Self> {
        Ok(Self { program: std::env::current_exe()?, args: args.into_iter().map(Into::into).collect() })
    }

    /// Compiles `component`. Dropping the future kills the child.
    ///
    /// # Errors
    /// When the child cannot be run, fails, or exceeds a limit.
    pub async fn compile(&self, component: &[u8], world: World) -> Result<Vec<u8>, CompileError> {
        let start = |source| CompileError::Start { program: self.program.clone(), source };
        let mut child = Command::new(&self.program)
            .args(&self.args)
            .arg(world.as_str())
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(start)?;
        let ran = tokio::time::timeout(WALL_TIMEOUT, converse(&mut child, component)).await;
        let (status, code, message) = ran.map_err(|_| CompileError::TimedOut)?.map_err(start)?;
        if !status.success() {
            return Err(CompileError::Failed { status, message: String::from_utf8_lossy(&message).trim().to_owned() });
        }
        if code.len() as u64 > CODE_BYTES_MAX {
            return Err(CompileError::TooLarge);
        }
        Ok(code)
    }
}

async fn converse(child: &mut Child, component: &[u8]) -> io::Result<(ExitStatus, Vec<u8>, Vec<u8>)> {
    let mut stdin = child.stdin.take().expect("stdin is piped");
    let stdout = child.stdout.take().expect("stdout is piped");
    let stderr = child.stderr.take().expect("stderr is piped");
    let (mut code, mut message) = (Vec::new(), Vec::new());
    let write = async {
        // A child that gives up early closes its end; its status and message say more than the broken pipe.
        let _ = stdin.write_all(component).await;
        drop(stdin);
    };
    let ((), read_code, read_message) =
        tokio::join!(write, async { stdout.take(CODE_BYTES_MAX + 1).read_to_end(&mut code).await }, async {
            stderr.take(STDERR_BYTES_MAX).read_to_end(&mut message).await
        },);
    read_code?;
    read_message?;
    Ok((child.wait().await?, code, message))
}

/// The child's whole life: limits itself, reads a component from stdin, writes its code to stdout.
///
/// # Errors
/// When a limit cannot be set, or the component does not compile.
pub fn run_child(world: World) -> anyhow::Result<()> {
    limit(Resource::Core, 0)?;
    limit(Resource::Fsize, 0)?;
    limit(Resource::Cpu, CPU_SECONDS)?;
    limit(Resource::As, ADDRESS_SPACE_BYTES)?;
    let engine = Engine::new(&engine_config(world, Role::Compile))?;
    let mut component = Vec::new();
    io::stdin().lock().take(COMPONENT_BYTES_MAX + 1).read_to_end(&mut component)?;
    anyhow::ensure!(
        component.len() as u64 <= COMPONENT_BYTES_MAX,
        "the component is larger than {} MiB; strip its debug sections",
        COMPONENT_BYTES_MAX >> 20
    );
    // Descriptors 0 to 2 are open; from here on nothing can be opened, whatever the component talks the compiler into.
    limit(Resource::Nofile, 3)?;
    if Parser::is_core_wasm(&component) {
        component = preview1::wrap(&component)?;
    }
    let code = engine.precompile_component(&component)?;
    io::stdout().lock().write_all(&code)?;
    Ok(())
}

fn limit(resource: Resource, value: u64) -> anyhow::Result<()> {
    let lower = |maximum: Option<u64>| Some(maximum.map_or(value, |maximum| maximum.min(value)));
    let now = rustix::process::getrlimit(resource);
    setrlimit(resource, Rlimit { current: lower(now.maximum), maximum: lower(now.maximum) })?;
    Ok(())
}

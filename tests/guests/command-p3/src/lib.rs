//! A `wasi:cli` 0.3 command: what its first argument says.

use wasip3::cli::{environment, exit, stdout};
use wasip3::clocks::monotonic_clock::wait_for;
use wasip3::{spawn_local, wit_stream};

struct Command;

impl wasip3::exports::cli::run::Guest for Command {
    async fn run() -> Result<(), ()> {
        let args = environment::get_arguments();
        match args.get(1).map_or("", String::as_str) {
            "fail" => return Err(()),
            "trap" => unreachable!("this guest traps"),
            "sleep" => {
                print("sleeping\n".to_owned()).await;
                wait_for(u64::MAX).await;
            }
            "spin" => {
                print("spinning\n".to_owned()).await;
                loop {
                    std::hint::spin_loop();
                }
            }
            "exit" => {
                print("leaving\n".to_owned()).await;
                exit::exit_with_code(args.get(2).and_then(|code| code.parse().ok()).unwrap_or(0));
            }
            _ => print(format!("args: {}\n", args[1..].join(" "))).await,
        }
        Ok(())
    }
}

wasip3::cli::command::export!(Command);

/// Ends when the host has taken all of it.
async fn print(text: String) {
    let (mut writer, reader) = wit_stream::new();
    spawn_local(async move {
        writer.write_all(text.into_bytes()).await;
    });
    stdout::write_via_stream(reader).await.expect("stdout is open");
}

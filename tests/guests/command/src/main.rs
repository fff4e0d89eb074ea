//! A `wasi:cli` command: it has no HTTP export. Its first argument says what it does; a number alone is its exit code.
//! Built for wasm32-wasip2 as a component, and for wasm32-wasip1 as a core module.

use std::io::{Read, Write};
use std::process::exit;
use std::time::Duration;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let of = |n: usize| args.get(n).map_or("", String::as_str);
    match of(0) {
        "env" => std::env::vars().for_each(|(name, value)| println!("{name}={value}")),
        "cwd" => println!("{}", std::env::current_dir().map_or_else(|error| error.to_string(), |at| at.display().to_string())),
        "read" => report(std::fs::read_to_string(of(1)).map(|text| print!("{text}"))),
        "write" => report(std::fs::write(of(1), of(2))),
        "cat" => cat(),
        "connect" => report(std::net::TcpStream::connect(of(1)).map(|_| println!("connected"))),
        "stderr" => eprintln!("{}", of(1)),
        "partial" => {
            print!("{}", of(1));
            report(std::io::stdout().flush());
            std::thread::sleep(Duration::MAX);
        }
        "sleep" => {
            println!("sleeping");
            std::thread::sleep(Duration::MAX);
        }
        "spin" => {
            println!("spinning");
            spin();
        }
        "trap" => trap(),
        "grow" => grow(),
        _ => {
            println!("args: {}", args.join(" "));
            exit(of(0).parse().unwrap_or(0));
        }
    }
}

/// Each piece of standard input as it comes, to standard output.
fn cat() {
    let mut piece = [0; 4096];
    loop {
        match std::io::stdin().read(&mut piece) {
            Ok(0) => return,
            Ok(read) => {
                let mut stdout = std::io::stdout();
                report(stdout.write_all(&piece[..read]).and_then(|()| stdout.flush()));
            }
            Err(error) => report(Err(error)),
        }
    }
}

fn spin() {
    let mut turns = 0_u64;
    loop {
        turns = std::hint::black_box(turns.wrapping_add(1));
    }
}

fn trap() {
    println!("trapping");
    core::arch::wasm32::unreachable()
}

/// Takes memory until there is none, and says how many MiB it got.
fn grow() {
    let mut mib = 0;
    while core::arch::wasm32::memory_grow::<0>(16) != usize::MAX {
        mib += 1;
    }
    println!("{mib} MiB");
}

fn report(result: std::io::Result<()>) {
    if let Err(error) = result {
        println!("error: {}", error.kind());
        exit(1);
    }
}

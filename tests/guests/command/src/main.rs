//! A `wasi:cli` command: it has no HTTP export. Prints its arguments and exits with the code that the first one gives.

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    println!("args: {}", args.join(" "));
    let code = args.first().and_then(|first| first.parse().ok()).unwrap_or(0);
    std::process::exit(code);
}

//! Counts the primes below `?n=` by trial division: work that grows with n, for watching CPU limits and scaling.

use wstd::http::{Body, Error, Request, Response, StatusCode};

const DEFAULT_N: u32 = 100_000;

#[wstd::http_server]
async fn main(request: Request<Body>) -> Result<Response<Body>, Error> {
    let query = request.uri().query().unwrap_or_default();
    let n = query.split('&').find_map(|pair| pair.strip_prefix("n="));
    let Ok(n) = n.map_or(Ok(DEFAULT_N), str::parse) else {
        return Ok(Response::builder().status(StatusCode::BAD_REQUEST).body("n must be a number\n".into())?);
    };
    Ok(Response::new(format!("{} primes below {n}\n", primes_below(n)).into()))
}

fn primes_below(n: u32) -> usize {
    (2..n).filter(|&number| is_prime(number)).count()
}

fn is_prime(number: u32) -> bool {
    (2..).take_while(|divisor| divisor * divisor <= number).all(|divisor| number % divisor != 0)
}

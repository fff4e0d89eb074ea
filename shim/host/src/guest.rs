//! One call of a guest's HTTP handler, in either world, as one future that owns the wasm instance.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use futures::channel::oneshot;
use tokio::time::Instant;
use wasmtime::AsContextMut;
use wasmtime_wasi_http::WasiHttpView;
use wasmtime_wasi_http::handler::{Prepared, Proxy, Request, Response};
use wasmtime_wasi_http::p2::bindings::http::types::Scheme;

use crate::meter::Meter;
use crate::revision::{Instance, Revision};

/// Where the guest's answer arrives; it may go on after that, writing the body.
pub type ResponseSender = oneshot::Sender<wasmtime::Result<Response>>;

/// The guest at work. Ends when it has nothing more to do for the request; dropping it stops the guest where it is.
pub type GuestFuture = Pin<Box<dyn Future<Output = wasmtime::Result<Instance>> + Send>>;

/// Everything that one call needs.
pub struct Call {
    /// The request, its body already bounded.
    pub request: Request,
    /// Takes the answer.
    pub response: ResponseSender,
    /// Counts what it uses.
    pub meter: Arc<Meter>,
    /// When the request must be over.
    pub deadline: Instant,
}

/// Gives `call` to a wasm instance of `revision`.
#[must_use]
pub fn run(revision: Arc<Revision>, call: Call) -> GuestFuture {
    Box::pin(async move {
        let instance = revision.instance(&call.meter, call.deadline).await?;
        match instance.proxy {
            Proxy::P2(_) => run_p2(instance, call).await,
            Proxy::P3(_) => run_p3(instance, call).await,
        }
    })
}

async fn run_p2(mut instance: Instance, call: Call) -> wasmtime::Result<Instance> {
    let Proxy::P2(proxy) = &instance.proxy else { unreachable!("chosen by the caller") };
    let store = &mut instance.store;
    let mut http = store.data_mut().http();
    let request = http.new_incoming_request(Scheme::Http, call.request)?;
    // The callback is shared (`Sync`), a oneshot's sender is not.
    let sender = Mutex::new(Some(call.response));
    let out = http.new_response_outparam_from_callback(move |response| {
        if let Some(sender) = sender.lock().ok().and_then(|mut sender| sender.take()) {
            let _ = sender.send(response.map_err(wasmtime::Error::new));
        }
    })?;
    proxy.wasi_http_incoming_handler().call_handle(store, request, out).await?;
    Ok(instance)
}

async fn run_p3(mut instance: Instance, call: Call) -> wasmtime::Result<Instance> {
    let Instance { store, proxy, .. } = &mut instance;
    let proxy = &*proxy;
    let Call { request, response, .. } = call;
    store
        .run_concurrent(async |accessor| {
            let prepared = accessor.with(|mut access| {
                Prepared::new(access.as_context_mut(), proxy, request, WasiHttpView::http, response)
            })?;
            // Whoever polls this future keeps the deadline.
            prepared.run(accessor, std::future::pending()).await?;
            // The answer is begun; its body and other tasks of the guest may still run.
            poll_fn(|context| accessor.poll_no_interesting_tasks(context)).await;
            wasmtime::Result::<()>::Ok(())
        })
        .await??;
    Ok(instance)
}

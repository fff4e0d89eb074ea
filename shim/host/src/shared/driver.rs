//! What runs inside the store of a shared wasm instance: takes calls from the line and keeps all of them going.

use std::future::{pending, poll_fn};
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use wasmtime::AsContextMut;
use wasmtime::component::Accessor;
use wasmtime_wasi_http::WasiHttpView;
use wasmtime_wasi_http::handler::{Prepared, Proxy};

use crate::context::Guest;
use crate::guest::Call;
use crate::meter::Meter;
use crate::revision::{Instance, Revision};

use super::ledger::Ledger;
use super::line::Line;

/// What the driver works with.
pub(super) struct Means {
    pub(super) revision: Arc<Revision>,
    pub(super) line: Arc<Line>,
    pub(super) ledger: Arc<Ledger>,
}

/// Makes a wasm instance for the request of `meter`, and serves the calls of the line with it.
///
/// # Errors
/// When it cannot be made, or the guest traps; all calls in it are then lost.
pub(super) async fn serve(means: Means, meter: Arc<Meter>) -> wasmtime::Result<()> {
    let Means { revision, line, ledger } = means;
    let Instance { mut store, proxy, .. } = revision.shared_instance(&meter, Arc::clone(&ledger)).await?;
    // The revision keeps this wasm instance for a next request, so it must not keep the revision.
    drop((revision, meter));
    let Proxy::P3(service) = &proxy else { unreachable!("only 0.3 components are shared") };
    let function = *service.wasi_http_handler().func_handle().func();
    store
        .run_concurrent(async |accessor| {
            let mut running = FuturesUnordered::new();
            let turn = |context: &mut Context<'_>| {
                line.register(context.waker());
                loop {
                    match running.poll_next_unpin(context) {
                        Poll::Ready(Some(Err(error))) => return Poll::Ready(wasmtime::Result::Err(error)),
                        Poll::Ready(Some(Ok(()))) => continue,
                        Poll::Ready(None) | Poll::Pending => {}
                    }
                    let Some(call) = line.pop() else { break };
                    running.push(answer(accessor, begin(accessor, &proxy, &ledger, call)));
                }
                let ready = accessor.poll_ready_for_concurrent_call(function, context).is_ready();
                let idle = running.is_empty() && accessor.poll_no_interesting_tasks(context).is_ready();
                if idle {
                    ledger.settle();
                }
                line.tell(ready, idle);
                Poll::Pending
            };
            poll_fn(turn).await
        })
        .await?
}

/// Makes a task of a call in the guest.
fn begin<'a>(
    accessor: &Accessor<Guest>,
    proxy: &'a Proxy,
    ledger: &Ledger,
    (member, call): (u64, Call),
) -> wasmtime::Result<Prepared<'a, Guest>> {
    accessor.with(|mut access| {
        access.data_mut().add_request(call.deadline);
        let prepared = Prepared::new(access.as_context_mut(), proxy, call.request, WasiHttpView::http, call.response)?;
        if let Prepared::P3 { call, .. } = &prepared {
            ledger.begins(member, call.task());
        }
        Ok(prepared)
    })
}

/// Runs one until it has begun its answer.
async fn answer(accessor: &Accessor<Guest>, prepared: wasmtime::Result<Prepared<'_, Guest>>) -> wasmtime::Result<()> {
    // Each request keeps its own deadline.
    prepared?.run(accessor, pending()).await?;
    Ok(())
}

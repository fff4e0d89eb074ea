//! Who passes, who waits, who is refused: the slots and the line of one revision. Pure.
//!
//! A request that arrives takes a free slot, or its place in the line, or is refused because the line is full. A slot that
//! becomes free goes to the first in line that may use it. A request that comes back from a dead instance keeps its place.
//!
//! `W` is what the caller keeps of a waiting request, `E` of an endpoint; the rules look into neither.

use std::collections::BTreeMap;

use crate::balance::{self, Load};

/// A place in line: the lower one goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Turn(u64);

/// An endpoint for as long as it is known or has requests in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EndpointId {
    index: u32,
    /// Tells apart endpoints that had the same index one after the other.
    generation: u32,
}

/// An endpoint as the autoscaler names it.
#[derive(Clone, Debug)]
pub(crate) struct Offer<E> {
    /// The instance's name.
    pub instance: String,
    /// Requests at once.
    pub slots: u32,
    /// What the caller keeps of it.
    pub endpoint: E,
}

/// A slot that was given.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Grant<E> {
    /// To be handed back with [`Admission::release`].
    pub id: EndpointId,
    /// The request's place in line, which it keeps if it has to come back.
    pub turn: Turn,
    /// Where the request goes.
    pub endpoint: E,
}

/// A request that wants to wait.
#[derive(Debug)]
pub(crate) struct Ask {
    /// The place that it has already, when it comes back from an instance that did not take it.
    pub turn: Option<Turn>,
    /// Bytes that it holds in memory while it waits.
    pub bytes: u64,
    /// Endpoints that it must not get again.
    pub tried: Vec<EndpointId>,
}

/// How long a line may become.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Most requests in line.
    pub requests: u32,
    /// Most bytes that they hold together.
    pub bytes: u64,
}

/// Which bound of the line is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// [`Bounds::requests`].
    Requests,
    /// [`Bounds::bytes`].
    Bytes,
}

/// How much of an endpoint may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// Takes requests.
    Ready,
    /// Was not reachable, or broke a connection: set aside until it is named or trusted again.
    Suspect,
    /// No longer named: gone as soon as its last request is.
    Withdrawn,
}

/// An endpoint, for a snapshot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry<'a, E> {
    /// The instance's name.
    pub instance: &'a str,
    /// Requests at once.
    pub slots: u32,
    /// Requests now.
    pub in_flight: u32,
    /// How much of it may be used.
    pub trust: Trust,
    /// What the caller keeps of it.
    pub endpoint: &'a E,
}

/// The slots and the line of one revision.
#[derive(Debug)]
pub(crate) struct Admission<W, E> {
    /// Holes are endpoints that are gone; their index is used again.
    slots: Vec<Option<Slots<E>>>,
    line: BTreeMap<Turn, Waiter<W>>,
    line_bytes: u64,
    in_flight: u32,
    /// Σ slots of ready endpoints.
    capacity: u32,
    /// Σ slots of ready endpoints that no request has.
    free: u32,
    next_turn: u64,
    next_generation: u32,
}

#[derive(Debug)]
struct Slots<E> {
    instance: String,
    slots: u32,
    in_flight: u32,
    trust: Trust,
    /// Set aside for a moment, whatever the autoscaler says: it may not know yet.
    broken: bool,
    generation: u32,
    endpoint: E,
}

#[derive(Debug)]
struct Waiter<W> {
    bytes: u64,
    tried: Vec<EndpointId>,
    who: W,
}

impl<W, E> Default for Admission<W, E> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            line: BTreeMap::new(),
            line_bytes: 0,
            in_flight: 0,
            capacity: 0,
            free: 0,
            next_turn: 0,
            next_generation: 0,
        }
    }
}

impl<W, E: Clone> Admission<W, E> {
    /// Gives a slot at once, to any request but those that tried all free endpoints.
    ///
    /// This passes nobody: after each change, no request in line could use a slot that is free.
    pub(crate) fn try_take(&mut self, again: Option<&Ask>, dice: &mut impl FnMut() -> u32) -> Option<Grant<E>> {
        if self.free == 0 {
            return None;
        }
        let index = self.pick(again.map_or(&[], |ask| &ask.tried), dice)?;
        let turn = again.and_then(|ask| ask.turn).unwrap_or_else(|| self.next_turn());
        Some(self.take(index, turn))
    }

    /// Takes a place in line, after [`Self::try_take`] had nothing to give.
    pub(crate) fn wait(&mut self, ask: Ask, bounds: Bounds, who: W) -> Result<Turn, Full> {
        // One that had a place passed the bounds then; one that was refused by all never waited.
        if ask.turn.is_none() || self.exhausted(&ask.tried) {
            self.check(bounds, ask.bytes)?;
        }
        let turn = ask.turn.unwrap_or_else(|| self.next_turn());
        self.line_bytes = self.line_bytes.saturating_add(ask.bytes);
        self.line.insert(turn, Waiter { bytes: ask.bytes, tried: ask.tried, who });
        Ok(turn)
    }

    /// Leaves the line.
    pub(crate) fn leave(&mut self, turn: Turn) -> Left {
        self.remove(turn).map_or(Left::Already, |_| Left::Line)
    }

    /// Hands a slot back. It goes to the first in line that may use it.
    pub(crate) fn release(&mut self, id: EndpointId) -> Option<(W, Grant<E>)> {
        let index = id.index as usize;
        let entry = self.slots.get_mut(index)?.as_mut().filter(|entry| entry.generation == id.generation)?;
        entry.in_flight -= 1;
        self.in_flight -= 1;
        match entry.trust {
            Trust::Withdrawn if entry.in_flight == 0 => self.slots[index] = None,
            Trust::Ready if entry.in_flight < entry.slots => {
                self.free += 1;
                return self.serve_from(index);
            }
            Trust::Ready | Trust::Suspect | Trust::Withdrawn => {}
        }
        None
    }

    /// Replaces the endpoints by those that the autoscaler names, and serves the line as far as there are slots.
    // known => (Ready | Suspect); not named any more => (Withdrawn | gone)
    pub(crate) fn offer(&mut self, offers: Vec<Offer<E>>, dice: &mut impl FnMut() -> u32) -> Vec<(W, Grant<E>)> {
        for entry in self.slots.iter_mut().flatten() {
            entry.trust = Trust::Withdrawn;
        }
        for offer in offers {
            self.name(offer);
        }
        let is_gone = |entry: &Slots<E>| entry.trust == Trust::Withdrawn && entry.in_flight == 0;
        self.slots.iter_mut().filter(|hole| hole.as_ref().is_some_and(is_gone)).for_each(|hole| *hole = None);
        while matches!(self.slots.last(), Some(None)) {
            self.slots.pop();
        }
        self.recount();
        self.serve(dice)
    }

    /// Sets an endpoint aside until it is named or trusted again.
    pub(crate) fn suspect(&mut self, id: EndpointId) {
        if let Some(entry) = self.trusted(id) {
            entry.trust = Trust::Suspect;
            self.recount();
        }
    }

    /// Sets an endpoint aside until it is trusted again, even if it is named. Returns whether it was trusted until now.
    // Ready => Suspect
    pub(crate) fn broke(&mut self, id: EndpointId) -> bool {
        let Some(entry) = self.trusted(id) else { return false };
        (entry.trust, entry.broken) = (Trust::Suspect, true);
        self.recount();
        true
    }

    /// Uses endpoints again that were set aside, and serves the line as far as they have slots.
    // Suspect => Ready
    pub(crate) fn trust_again(&mut self, dice: &mut impl FnMut() -> u32) -> Vec<(W, Grant<E>)> {
        for entry in self.slots.iter_mut().flatten() {
            entry.broken = false;
            if entry.trust == Trust::Suspect {
                entry.trust = Trust::Ready;
            }
        }
        self.recount();
        self.serve(dice)
    }

    /// Takes all out of the line, in order.
    pub(crate) fn dismiss(&mut self) -> Vec<W> {
        self.line_bytes = 0;
        std::mem::take(&mut self.line).into_values().map(|waiter| waiter.who).collect()
    }

    /// True when a request that tried these endpoints can get no other of the present ones.
    pub(crate) fn exhausted(&self, tried: &[EndpointId]) -> bool {
        let mut ready = self.entries_with_id().filter(|(_, entry)| entry.trust == Trust::Ready).peekable();
        ready.peek().is_some() && ready.all(|(id, _)| tried.contains(&id))
    }

    /// Requests in line.
    pub(crate) fn waiting(&self) -> u32 {
        u32::try_from(self.line.len()).unwrap_or(u32::MAX)
    }

    /// Requests that have a slot.
    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// Slots of all ready endpoints.
    pub(crate) fn capacity(&self) -> u32 {
        self.capacity
    }

    /// All endpoints that are known or still have requests.
    pub(crate) fn entries(&self) -> impl Iterator<Item = Entry<'_, E>> {
        self.slots.iter().flatten().map(|entry| Entry {
            instance: &entry.instance,
            slots: entry.slots,
            in_flight: entry.in_flight,
            trust: entry.trust,
            endpoint: &entry.endpoint,
        })
    }

    fn entries_with_id(&self) -> impl Iterator<Item = (EndpointId, &Slots<E>)> {
        (0u32..).zip(&self.slots).filter_map(|(index, entry)| {
            let entry = entry.as_ref()?;
            Some((EndpointId { index, generation: entry.generation }, entry))
        })
    }

    fn trusted(&mut self, id: EndpointId) -> Option<&mut Slots<E>> {
        let entry = self.slots.get_mut(id.index as usize)?.as_mut()?;
        (entry.generation == id.generation && entry.trust == Trust::Ready).then_some(entry)
    }

    fn next_turn(&mut self) -> Turn {
        self.next_turn += 1;
        Turn(self.next_turn)
    }

    fn check(&self, bounds: Bounds, bytes: u64) -> Result<(), Full> {
        if self.waiting() >= bounds.requests {
            return Err(Full::Requests);
        }
        if self.line_bytes.saturating_add(bytes) > bounds.bytes {
            return Err(Full::Bytes);
        }
        Ok(())
    }

    fn remove(&mut self, turn: Turn) -> Option<Waiter<W>> {
        self.line.remove(&turn).inspect(|waiter| self.line_bytes -= waiter.bytes)
    }

    fn pick(&self, tried: &[EndpointId], dice: &mut impl FnMut() -> u32) -> Option<usize> {
        balance::choose(self.slots.len(), dice, |index| {
            let entry = self.slots[index].as_ref()?;
            let open = entry.trust == Trust::Ready && entry.in_flight < entry.slots;
            let is_tried = !tried.is_empty() && tried.contains(&self.id(index, entry));
            (open && !is_tried).then_some(Load { slots: entry.slots, in_flight: entry.in_flight })
        })
    }

    fn id(&self, index: usize, entry: &Slots<E>) -> EndpointId {
        EndpointId { index: u32::try_from(index).unwrap_or(u32::MAX), generation: entry.generation }
    }

    fn take(&mut self, index: usize, turn: Turn) -> Grant<E> {
        let entry = self.slots[index].as_mut().expect("picked among the present");
        entry.in_flight += 1;
        self.in_flight += 1;
        self.free -= 1;
        let id = EndpointId { index: u32::try_from(index).unwrap_or(u32::MAX), generation: entry.generation };
        Grant { id, turn, endpoint: entry.endpoint.clone() }
    }

    /// Gives one free slot of this endpoint to the first in line that may use it.
    fn serve_from(&mut self, index: usize) -> Option<(W, Grant<E>)> {
        let id = self.id(index, self.slots[index].as_ref()?);
        let turn = self.line.iter().find(|(_, waiter)| !waiter.tried.contains(&id)).map(|(turn, _)| *turn)?;
        let waiter = self.remove(turn)?;
        Some((waiter.who, self.take(index, turn)))
    }

    /// Serves the line in order while there are slots.
    fn serve(&mut self, dice: &mut impl FnMut() -> u32) -> Vec<(W, Grant<E>)> {
        let mut served = Vec::new();
        while self.free > 0 {
            let next = self.line.iter().find_map(|(turn, waiter)| Some((*turn, self.pick(&waiter.tried, dice)?)));
            let Some((turn, index)) = next else { break };
            let Some(waiter) = self.remove(turn) else { break };
            served.push((waiter.who, self.take(index, turn)));
        }
        served
    }

    fn name(&mut self, offer: Offer<E>) {
        let known = self.slots.iter_mut().flatten().find(|entry| entry.instance == offer.instance);
        if let Some(entry) = known {
            entry.slots = offer.slots;
            entry.trust = if entry.broken { Trust::Suspect } else { Trust::Ready };
            entry.endpoint = offer.endpoint;
            return;
        }
        self.next_generation = self.next_generation.wrapping_add(1);
        let entry = Slots {
            instance: offer.instance,
            slots: offer.slots,
            in_flight: 0,
            trust: Trust::Ready,
            broken: false,
            generation: self.next_generation,
            endpoint: offer.endpoint,
        };
        match self.slots.iter_mut().find(|hole| hole.is_none()) {
            Some(hole) => *hole = Some(entry),
            None => self.slots.push(Some(entry)),
        }
    }

    fn recount(&mut self) {
        let ready = self.slots.iter().flatten().filter(|entry| entry.trust == Trust::Ready);
        (self.capacity, self.free) = ready.fold((0u32, 0u32), |(capacity, free), entry| {
            (capacity.saturating_add(entry.slots), free.saturating_add(entry.slots.saturating_sub(entry.in_flight)))
        });
    }
}

/// Where a request was when it left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// In line: nobody will serve it any more.
    Line,
    /// It had been served or dismissed before.
    Already,
}

#[cfg(test)]
#[path = "admission_tests.rs"]
mod tests;

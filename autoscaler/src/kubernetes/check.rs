//! Whether a peer is who it says it is. Pure.

use wisp_api::RevisionKey;
use wisp_api::wire::InstanceHello;
use wisp_identity::Claim;
use wisp_kubernetes::Identity;

use super::roster::PodFact;

/// The ServiceAccount of activators.
const ACTIVATOR: &str = "wisp-activator";

/// An instance must show the proof of its own pod, of the node that runs it, and speak for nothing else.
///
/// # Errors
/// What does not agree.
pub(crate) fn check_instance(hello: &InstanceHello, claim: &Claim, pod: &PodFact) -> Result<(), String> {
    if hello.instance != claim.uid || pod.uid != claim.uid {
        return Err(format!("it says that it is {:?} and shows the proof of pod {:?}", hello.instance, claim.uid));
    }
    if hello.namespace != claim.namespace || pod.namespace != claim.namespace {
        return Err(format!("it says namespace {:?}, and its proof is of {:?}", hello.namespace, claim.namespace));
    }
    if pod.node.as_ref() != Some(&claim.node) {
        return Err(format!("node {:?} vouches for it, and its pod runs on {:?}", claim.node, pod.node));
    }
    let told = told_revision(hello);
    if told.as_ref().is_some_and(|told| told.namespace != pod.namespace) {
        return Err(format!("it serves {:?}, which is of another namespace", hello.revision));
    }
    match (&pod.revision, told) {
        (Some(held), Some(told)) if *held != told => {
            Err(format!("its pod is of revision {held}, and it serves {told}"))
        }
        (None, _) if pod.pool.is_none() => Err("its pod is neither a pool's nor a revision's".to_owned()),
        _ => Ok(()),
    }
}

/// An activator must show the token of the activators' account.
///
/// # Errors
/// Whose it is instead.
pub(crate) fn check_activator(identity: &Identity, system_namespace: &str) -> Result<(), String> {
    if identity.namespace == system_namespace && identity.service_account == ACTIVATOR {
        return Ok(());
    }
    Err(format!("its token is that of {}/{}, no activator's", identity.namespace, identity.service_account))
}

/// The revision that a host says it has.
pub(crate) fn told_revision(hello: &InstanceHello) -> Option<RevisionKey> {
    match hello.revision.split_once('/') {
        Some((namespace, name)) => Some(RevisionKey::new(namespace, name)),
        None if hello.revision.is_empty() => None,
        None => Some(RevisionKey::new(&hello.namespace, &hello.revision)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(namespace: &str, account: &str) -> Identity {
        Identity { namespace: namespace.to_owned(), service_account: account.to_owned(), node: None }
    }

    fn claim(node: &str, namespace: &str, uid: &str) -> Claim {
        let owned = str::to_owned;
        Claim { node: owned(node), namespace: owned(namespace), pod: format!("pod-{uid}"), uid: owned(uid) }
    }

    fn hello(namespace: &str, instance: &str, revision: &str) -> InstanceHello {
        let (namespace, instance, revision) = (namespace.to_owned(), instance.to_owned(), revision.to_owned());
        InstanceHello { namespace, instance, revision, ..InstanceHello::default() }
    }

    fn pod(uid: &str, pool: Option<&str>, revision: Option<&str>) -> PodFact {
        let revision = revision.map(|name| RevisionKey::new("shop", name));
        let (namespace, name, node) = ("shop".to_owned(), format!("pod-{uid}"), Some("node-a".to_owned()));
        PodFact { namespace, name, uid: uid.to_owned(), node, pool: pool.map(str::to_owned), revision }
    }

    #[test]
    fn an_instance_speaks_for_its_own_pod_only() {
        let (warm, cart) = (pod("1", Some("default"), None), pod("1", None, Some("cart-00001")));
        let own = claim("node-a", "shop", "1");
        let nowhere = PodFact { node: None, ..warm.clone() };
        for (why, hello, claim, pod, accepted) in [
            ("a warm one", hello("shop", "1", ""), &own, &warm, true),
            ("a fresh one", hello("shop", "1", "cart-00001"), &own, &cart, true),
            ("its full name", hello("shop", "1", "shop/cart-00001"), &own, &cart, true),
            ("claimed, not yet told", hello("shop", "1", ""), &own, &cart, true),
            ("claimed, the label is late", hello("shop", "1", "cart-00001"), &own, &warm, true),
            ("another's name", hello("shop", "2", ""), &own, &warm, false),
            ("another's pod", hello("shop", "1", ""), &claim("node-a", "shop", "2"), &warm, false),
            ("another node's word", hello("shop", "1", ""), &claim("node-b", "shop", "1"), &warm, false),
            ("on no node yet", hello("shop", "1", ""), &own, &nowhere, false),
            ("another's namespace", hello("bank", "1", ""), &own, &warm, false),
            ("a proof of elsewhere", hello("bank", "1", ""), &claim("node-a", "bank", "1"), &warm, false),
            ("another's revision", hello("shop", "1", "other-00001"), &own, &cart, false),
            ("a revision of elsewhere", hello("shop", "1", "bank/vault-00001"), &own, &warm, false),
            ("a pod of nobody", hello("shop", "1", ""), &own, &pod("1", None, None), false),
        ] {
            let found = check_instance(&hello, claim, pod);
            assert_eq!(found.is_ok(), accepted, "{why}: {found:?}");
        }
    }

    #[test]
    fn only_the_activators_account_is_an_activator() {
        for (namespace, account, accepted) in [
            ("wisp-system", "wisp-activator", true),
            ("wisp-system", "default", false),
            ("shop", "wisp-activator", false),
        ] {
            assert_eq!(check_activator(&identity(namespace, account), "wisp-system").is_ok(), accepted);
        }
    }
}

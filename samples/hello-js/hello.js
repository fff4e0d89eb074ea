// The platform's own fetch event, as in a service worker: componentize-js turns it into wasi:http/incoming-handler.
addEventListener("fetch", (event) => event.respondWith(answer(event.request)));

async function answer(request) {
  const { pathname } = new URL(request.url);
  return new Response(`hello from JavaScript, you asked for ${pathname}\n`);
}

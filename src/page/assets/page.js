// Brings what is new into a page that is complete without it: the server's events say that
// something has changed, and then the page is loaded again and its live parts are exchanged.
'use strict';
(() => {
  const main = document.getElementById('content');
  const link = document.getElementById('link');
  if (!main || !main.dataset.events) return;

  // At least so long between two loads, and ten times as long as a load takes.
  const PAUSE = 2000;
  let pause = PAUSE;
  let last = -PAUSE;
  let timer = null;
  let latest = main.dataset.version;
  let asked = 0;

  const say = (text) => { if (link.textContent !== text) link.textContent = text; };

  // Exchanges the live parts, and leaves focus and what is opened as they are.
  function exchange(next) {
    for (const part of document.querySelectorAll('[data-live]')) {
      const other = next.getElementById(part.id);
      if (!other || other.innerHTML === part.innerHTML) continue;
      const active = part.contains(document.activeElement) ? document.activeElement : null;
      const href = active && active.getAttribute('href');
      const opened = [...part.querySelectorAll('details[open]')].map((details) => details.id);
      part.replaceChildren(...other.childNodes);
      for (const id of opened) {
        const details = document.getElementById(id);
        if (details) details.open = true;
      }
      if (active) {
        const links = [...part.querySelectorAll('a[href], summary')];
        const again = links.find((one) => href ? one.getAttribute('href') === href : one.tagName === active.tagName);
        if (again) again.focus({ preventScroll: true });
      }
    }
    main.dataset.version = next.getElementById('content').dataset.version;
  }

  async function load() {
    const began = performance.now();
    const number = ++asked;
    timer = null;
    try {
      const reply = await fetch(location.href, { headers: { accept: 'text/html' } });
      const text = await reply.text();
      if (number !== asked) return;
      if (reply.ok) {
        exchange(new DOMParser().parseFromString(text, 'text/html'));
        say('live');
      } else {
        say(reply.status === 404 ? 'known no longer' : 'busy');
      }
    } catch {
      say('not connected');
    }
    last = performance.now();
    pause = Math.max(PAUSE, 10 * (last - began));
    plan();
  }

  function plan() {
    if (timer !== null || document.hidden || latest === main.dataset.version) return;
    timer = setTimeout(load, Math.max(0, last + pause - performance.now()));
  }

  const events = new EventSource(main.dataset.events);
  events.onopen = () => say('live');
  events.onerror = () => say('not connected');
  events.onmessage = (event) => {
    if (event.data === 'gone') {
      events.close();
      say('known no longer');
      return;
    }
    latest = event.data;
    plan();
  };
  document.addEventListener('visibilitychange', plan);

  // What is typed is searched for as it is typed; the server searches.
  const form = document.getElementById('search');
  if (form) {
    let typing = null;
    const search = () => {
      const wanted = new URLSearchParams();
      for (const [key, value] of new FormData(form)) if (value) wanted.set(key, value);
      const query = wanted.toString();
      history.replaceState(null, '', query ? `./?${query}` : './');
      if (timer !== null) clearTimeout(timer);
      load();
    };
    form.addEventListener('input', () => {
      clearTimeout(typing);
      typing = setTimeout(search, 200);
    });
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      clearTimeout(typing);
      search();
    });
  }
})();

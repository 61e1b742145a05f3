// The pages that links and command lines lead to, until the dashboard has them: /cli and /device let a command
// line in, /reset/confirm sets a password, /activate activates an account. What is secret here stays in memory.
'use strict';

const at = (id) => document.getElementById(id);
const form = at('form');
const query = new URLSearchParams(location.search);
const fragment = new URLSearchParams(location.hash.slice(1));
// A token in the address would stay in the history.
if (location.hash) history.replaceState(null, '', location.pathname + location.search);

async function call(method, path, body, token) {
  const headers = { accept: 'application/json', 'content-type': 'application/json' };
  if (token) headers.authorization = `Bearer ${token}`;
  let answer;
  try {
    answer = await fetch(path, { method, headers, credentials: 'omit', body: body && JSON.stringify(body) });
  } catch {
    throw new Error('The server cannot be reached.');
  }
  const value = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(value.error ? value.error.message : `The server answered ${answer.status}.`);
  return value;
}

async function signIn() {
  const { token } = await call('POST', '/v1/auth/login', { email: form.email.value, password: form.password.value });
  form.password.value = '';
  return token;
}

function done(title, lead) {
  at('title').textContent = title;
  at('lead').textContent = lead;
  form.hidden = true;
}

function show(title, lead, fields, button) {
  at('title').textContent = title;
  at('lead').textContent = lead;
  for (const name of ['email', 'password', 'code']) {
    at(name).hidden = !fields.includes(name);
    form.elements[name].required = fields.includes(name);
  }
  at('yes').textContent = button;
  form.hidden = false;
  const first = form.querySelector('label:not([hidden]) input');
  if (first) first.focus();
}

// Back to the command line that listens on this machine; the server has checked that the address is one.
function back(values) {
  const target = new URL(query.get('redirect_uri'));
  target.searchParams.set('state', query.get('state') || '');
  for (const [name, value] of Object.entries(values)) target.searchParams.set(name, value);
  location.assign(target);
}

const pages = {
  '/cli': {
    start() {
      if (!query.get('redirect_uri') || !query.get('code_challenge')) {
        done('Nothing to sign in to', 'This page is opened by “wrenn login”.');
        return;
      }
      show('Sign in to the command line', 'A program on this machine, “wrenn login”, asks to act as you.', ['email', 'password'], 'Sign in');
    },
    async yes() {
      const request = { code_challenge: query.get('code_challenge'), redirect_uri: query.get('redirect_uri') };
      const { code } = await call('POST', '/v1/auth/cli/code', request, await signIn());
      back({ code });
    },
  },
  '/device': {
    start() {
      show('Let a command line in', 'Enter the code that it shows, and sign in. Nobody should have sent you this code.', ['code', 'email', 'password'], 'Approve');
      form.code.value = query.get('code') || '';
      at('no').hidden = false;
    },
    async answer(verdict) {
      const path = `/v1/auth/device/${encodeURIComponent(form.code.value.trim())}`;
      const token = await signIn();
      const { client_name: client } = await call('GET', path, undefined, token);
      await call('POST', `${path}/${verdict}`, {}, token);
      if (verdict === 'approve') done('Let in', `${client} acts as you now. You can close this page.`);
      else done('Refused', `${client} stays outside. You can close this page.`);
    },
    yes() { return this.answer('approve'); },
    no() { return this.answer('deny'); },
  },
  '/reset/confirm': {
    start() {
      show('Set a password', 'At least 8 characters. Every session of the account ends.', ['password'], 'Set the password');
      form.password.autocomplete = 'new-password';
    },
    async yes() {
      await call('POST', '/v1/me/password/reset/confirm', { token: fragment.get('token') || '', new_password: form.password.value });
      done('The password is set', 'Sign in with it: wrenn login');
    },
  },
  '/activate': {
    start() { show('Activate your account', 'One step is left.', [], 'Activate'); },
    async yes() {
      if (!this.token) {
        const opened = await call('POST', '/v1/auth/activate', { token: fragment.get('token') || '' });
        this.token = opened.token;
        const me = await call('GET', '/v1/me', undefined, this.token);
        if (!me.has_password) {
          // Two people signed up with this address: only who opened the mail may say which password holds.
          show('Choose a password', 'Your account is active. It has no password yet: at least 8 characters.', ['password'], 'Set the password');
          form.password.autocomplete = 'new-password';
          return;
        }
      } else {
        const password = form.password.value;
        await call('POST', '/v1/me/password', { new_password: password, confirm_password: password }, this.token);
      }
      done('Your account is active', 'Sign in with it: wrenn login');
    },
  },
};

const page = pages[location.pathname];
async function run(what) {
  at('fault').textContent = '';
  at('yes').disabled = at('no').disabled = true;
  try {
    await page[what]();
  } catch (error) {
    at('fault').textContent = error.message;
  }
  at('yes').disabled = at('no').disabled = false;
}
form.addEventListener('submit', (event) => { event.preventDefault(); run('yes'); });
at('no').addEventListener('click', () => { if (form.reportValidity()) run('no'); });
page.start();

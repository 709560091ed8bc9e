// Asks the service. The key, where one is wanted, lives in this tab only.
const KEY = "twotower-key";

class Problem extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

let version = null; // of the bundle that gave the last answer, an error too

// Other answers may be on the page still that the bundle before gave: who hears of the change asks anew.
function versionIs(told) {
  const changed = version !== null && told !== version;
  version = told;
  if (changed) document.dispatchEvent(new Event("version"));
}

export const keyIs = (key) => sessionStorage.setItem(KEY, key);

export async function ask(path, { method = "GET", body, query = {} } = {}) {
  const headers = {};
  const key = sessionStorage.getItem(KEY);
  if (key) headers.Authorization = `Bearer ${key}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const pairs = Object.entries(query).flatMap(([name, value]) => [value].flat().map((one) => [name, String(one)]));
  const address = pairs.length ? `${path}?${new URLSearchParams(pairs)}` : path;
  let response;
  try {
    response = await fetch(address, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  } catch {
    throw new Problem("The service does not answer; is it still running?", 0);
  }
  const answer = await response.json().catch(() => ({}));
  versionIs(response.headers.get("X-Bundle-Version"));
  if (!response.ok) {
    if (response.status === 401 || response.status === 403) document.dispatchEvent(new Event("key-wanted"));
    throw new Problem(answer.error?.message ?? `The service answered with status ${response.status}.`, response.status);
  }
  return answer;
}

export const inPath = (id) => encodeURIComponent(String(id));

// What the views share: who asks and for what, and what was last shown.
export const state = {
  user: null,             // as GET /page/users/{id} answers
  visitor: null,          // column -> value of a visitor whom nobody knows; null while a known user asks
  basket: [],             // items added on this page, oldest first; the service keeps nothing of it
  filters: { k: 10, where: {}, exclude_seen: true },
  added: new Set(),       // ids put by this page
  columns: [],            // as GET /page/facets answers
  profile: [],            // of users, likewise
};

// Who asks, as queries have it; null where nobody was chosen yet.
export function who() {
  const history = state.basket.map((item) => item.item_id);
  if (state.visitor) return { features: JSON.stringify(state.visitor), history };
  return state.user && { user: state.user.user_id, history };
}

export const inWords = () => (state.visitor ? "the new visitor" : `user ${state.user.user_id}`);

const events = new EventTarget();
export const on = (name, action) => events.addEventListener(name, action);
export const happened = (name) => events.dispatchEvent(new Event(name));

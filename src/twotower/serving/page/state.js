// What the views share: the chosen user, and what was last shown for that user.
export const state = {
  user: null,             // as GET /page/users/{id} answers
  recommendations: [],    // as GET /page/recommend answers
  filters: { k: 10, where: {}, exclude_seen: true },
  added: new Set(),       // ids put by this page
  columns: [],            // as GET /page/facets answers
  counts: {},             // num_items and num_users
};

const events = new EventTarget();
export const on = (name, action) => events.addEventListener(name, action);
export const happened = (name) => events.dispatchEvent(new Event(name));

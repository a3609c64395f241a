// What this browser profile remembers of its device, for all tabs and the service worker: a small
// table in IndexedDB. Loaded by a <script> and by importScripts, so it is no module.

self.tocsinStore = (() => {
  const opened = () =>
    new Promise((done, failed) => {
      const asked = indexedDB.open("tocsin", 1);
      asked.onupgradeneeded = () => asked.result.createObjectStore("kept");
      asked.onsuccess = () => done(asked.result);
      asked.onerror = () => failed(asked.error);
    });

  const step = async (mode, act) => {
    const database = await opened();
    try {
      return await new Promise((done, failed) => {
        const transaction = database.transaction("kept", mode);
        const asked = act(transaction.objectStore("kept"));
        // Only what is complete is kept.
        transaction.oncomplete = () => done(asked.result);
        transaction.onabort = transaction.onerror = () => failed(transaction.error);
      });
    } finally {
      database.close();
    }
  };

  const get = (name) => step("readonly", (kept) => kept.get(name));
  const set = (name, value) => step("readwrite", (kept) => kept.put(value, name));
  // In one step, so that a tab and the service worker lose nothing of each other's. Answers what
  // `change` made of the value.
  const update = async (name, change) => {
    let changed;
    await step("readwrite", (kept) => {
      const asked = kept.get(name);
      asked.onsuccess = () => kept.put((changed = change(asked.result)), name);
      return asked;
    });
    return changed;
  };
  return { get, set, update };
})();

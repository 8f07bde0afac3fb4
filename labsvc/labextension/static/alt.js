// JupyterLab shows image/png without alternative text. This renderer takes it from the output's
// metadata: {"image/png": {"alt": "...", "width": 900}}.
(() => {
  let shared;
  const plugin = (Widget) => {
    class ImageWithAlt extends Widget {
      constructor(mimeType) {
        super();
        this.mimeType = mimeType;
        this.addClass("jp-RenderedImage");
      }
      async renderModel(model) {
        const about = model.metadata[this.mimeType] ?? {};
        const img = document.createElement("img");
        img.src = `data:${this.mimeType};base64,${model.data[this.mimeType]}`;
        img.alt = about.alt ?? "";
        if (about.width) img.width = about.width;
        if (about.height) img.height = about.height;
        if (about.unconfined === true) img.classList.add("jp-mod-unconfined");
        const needs = model.metadata.needs_background;
        if (needs) img.classList.add(`jp-needs-${needs}-background`);
        this.node.replaceChildren(img);
      }
    }
    return {
      id: "labsvc:image-alt",
      rendererFactory: {
        safe: true,
        mimeTypes: ["image/png"],
        createRenderer: (options) => new ImageWithAlt(options.mimeType),
      },
      rank: 80,
      dataType: "string",
    };
  };
  window._JUPYTERLAB = window._JUPYTERLAB ?? {};
  window._JUPYTERLAB.labsvc = {
    init: (scope) => { shared = scope; },
    get: async () => {
      const [version] = Object.values(shared["@lumino/widgets"]);
      const { Widget } = (await version.get())();
      const exports = { __esModule: true, default: plugin(Widget) };
      return () => exports;
    },
  };
})();

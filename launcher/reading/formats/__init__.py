"""One module a format of data files: `rows` reads them, `count` says how many there are where that is cheap."""

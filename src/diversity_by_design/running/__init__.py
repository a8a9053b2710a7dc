"""Where results and work live: files, folders of results, records of how they were made, executors."""

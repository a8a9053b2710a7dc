"""What each analysis writes: tables, and figures with the values of their captions."""

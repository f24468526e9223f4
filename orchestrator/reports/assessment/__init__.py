"""The page of an assessment: verdict first, then the ladder, where it comes from, and what helps."""
